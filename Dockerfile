# One image for the broker and the worker. The base image is pinned by version, not by digest: mirrors that rebuild it
# (for another platform, or offline) have other digests. To pin yours, use `oven/bun:1.4.5-slim@sha256:…`
# (docker buildx imagetools inspect oven/bun:1.4.5-slim prints the digest).
FROM oven/bun:1.4.5-slim AS base
WORKDIR /home/bun/app

FROM base AS packages
COPY package.json bun.lock ./
# Elysia has the TypeScript compiler as a peer dependency, for its types only. It is a third of the size and never runs.
RUN bun install --frozen-lockfile --production && rm -rf node_modules/typescript node_modules/@typescript

FROM base
ENV NODE_ENV=production
COPY --from=packages /home/bun/app/node_modules node_modules
COPY package.json tsconfig.json broker.ts worker.ts ./
COPY lib lib
# The files belong to root, so that the process can read them but not change them.
USER bun
EXPOSE 5000
CMD ["bun", "run", "broker.ts"]

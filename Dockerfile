# One image for the broker and for the worker. Pinned by version, not by digest: a digest names the image of one
# registry, and mirrors that rebuild it (for another platform, or offline) would then not be found. Pin your own
# with `oven/bun:1.4.5-slim@sha256:…` (docker buildx imagetools inspect oven/bun:1.4.5-slim).
FROM oven/bun:1.4.5-slim AS base
WORKDIR /home/bun/app

FROM base AS packages
COPY package.json bun.lock ./
# Elysia names the TypeScript compiler as its peer, for its types only: a third of the size, and not run.
RUN bun install --frozen-lockfile --production && rm -rf node_modules/typescript node_modules/@typescript

FROM base
ENV NODE_ENV=production
COPY --from=packages /home/bun/app/node_modules node_modules
COPY package.json tsconfig.json broker.ts worker.ts ./
COPY lib lib
# The files stay root's: the process can read them and change none.
USER bun
EXPOSE 5000
CMD ["bun", "run", "broker.ts"]

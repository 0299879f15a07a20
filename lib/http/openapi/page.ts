/** The page at /swagger: Swagger UI out of node_modules, so that it works with no internet. Nothing stands inline. */
import { Elysia } from "elysia"
import style from "swagger-ui-dist/swagger-ui.css" with { type: "file" }
import script from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" }

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Task queue</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/swagger/ui.css">
<script defer src="/swagger/ui.js"></script>
<script defer src="/swagger/start.js"></script>
</head>
<body><div id="ui"><noscript>The document itself: <a href="/swagger/json">/swagger/json</a></noscript></div></body>
</html>
`

/** The token is forgotten with the page, and nothing is sent to a validator. */
const START = `SwaggerUIBundle({
  url: "/swagger/json",
  dom_id: "#ui",
  persistAuthorization: false,
  validatorUrl: null,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
})
`

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const hidden = { detail: { hide: true } }
const file = (body: string | Blob, type: string) => () =>
  new Response(body, {
    headers: {
      "content-type": `${type}; charset=utf-8`,
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "max-age=3600",
    },
  })

export const swaggerPage = new Elysia({ name: "swagger-page" })
  .get("/swagger", file(PAGE, "text/html"), hidden)
  .get("/swagger/start.js", file(START, "text/javascript"), hidden)
  .get("/swagger/ui.js", file(Bun.file(script), "text/javascript"), hidden)
  .get("/swagger/ui.css", file(Bun.file(style), "text/css"), hidden)

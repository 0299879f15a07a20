/** Serves the page /swagger: Swagger UI from node_modules, so that it works offline and without inline scripts. */
import { Elysia } from "elysia"
import style from "swagger-ui-dist/swagger-ui.css" with { type: "file" }
import script from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" }
import { atItsPath } from "../public-path.ts"
import { staticAnswer } from "../static.ts"

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Task queue</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="swagger/ui.css">
<script defer src="swagger/ui.js"></script>
<script defer src="swagger/start.js"></script>
</head>
<body><div id="ui"><noscript>This page needs JavaScript. The OpenAPI document is at <a href="swagger/json">/swagger/json</a>.</noscript></div></body>
</html>
`

/** Links are relative, so that they work under PUBLIC_PATH. Swagger UI does not store the token and sends nothing to an external validator. */
const START = `SwaggerUIBundle({
  url: "swagger/json",
  dom_id: "#ui",
  persistAuthorization: false,
  validatorUrl: null,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
})
`

const hidden = { detail: { hide: true } }
const serve =
  (body: string | Blob, type: string) =>
  ({ request }: { request: Request }) =>
    staticAnswer(request, { body, contentType: `${type}; charset=utf-8`, cacheControl: "max-age=3600" })

export const swaggerPage = new Elysia({ name: "swagger-page" })
  .get(
    "/swagger",
    context => atItsPath(context.request, "swagger", () => serve(PAGE, "text/html")(context)),
    hidden,
  )
  .get("/swagger/start.js", serve(START, "text/javascript"), hidden)
  .get("/swagger/ui.js", serve(Bun.file(script), "text/javascript"), hidden)
  .get("/swagger/ui.css", serve(Bun.file(style), "text/css"), hidden)

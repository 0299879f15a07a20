/** Imported as files: what comes is a path. */
declare module "swagger-ui-dist/*" {
  const path: string
  export default path
}

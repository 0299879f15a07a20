import { Elysia } from "elysia"
export const openapi = new Elysia({ name: "openapi" })
export const docs = {
  submit: {},
  get: {},
  lease: {},
  ack: {},
  extend: {},
  status: {},
  dlq: {},
  redrive: {},
  healthz: {},
  readyz: {},
}

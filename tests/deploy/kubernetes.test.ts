/** The manifests for Kubernetes: valid by their schemas, and in agreement with the broker and the worker. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject"
import { TriggerAuthentication } from "@kubernetes-models/keda/keda.sh/v1alpha1/TriggerAuthentication"
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor"
import { Deployment } from "kubernetes-models/apps/v1/Deployment"
import { StatefulSet } from "kubernetes-models/apps/v1/StatefulSet"
import { NetworkPolicy } from "kubernetes-models/networking.k8s.io/v1/NetworkPolicy"
import { PodDisruptionBudget } from "kubernetes-models/policy/v1/PodDisruptionBudget"
import { Secret } from "kubernetes-models/v1/Secret"
import { Service } from "kubernetes-models/v1/Service"
import { readBrokerConfig, readWorkerConfig } from "../../lib/config/config.ts"
import { VARIABLES } from "../../lib/config/variables.ts"
import { root } from "../support/documents.ts"
import { TOKEN, testBroker } from "../support/harness.ts"

// biome-ignore lint/suspicious/noExplicitAny: documents of many kinds
type Body = Record<string, any>
const MODELS: Record<string, new (body: never) => { validate(): void }> = {
  Deployment,
  StatefulSet,
  Service,
  Secret,
  NetworkPolicy,
  PodDisruptionBudget,
  ServiceMonitor,
  ScaledObject,
  TriggerAuthentication,
}

const documents = async (file: string) =>
  Bun.YAML.parse(await Bun.file(join(root, "lib/deploy", file)).text()) as Body[]
const all = [...(await documents("kubernetes.yml")), ...(await documents("kubernetes-operators.yml"))]
const find = (kind: string, name: string): Body =>
  all.find(each => each.kind === kind && each.metadata.name === name)!
const containerOf = (kind: string, name: string): Body => find(kind, name).spec.template.spec.containers[0]
const values = (kind: string, name: string): Record<string, string | undefined> =>
  Object.fromEntries(containerOf(kind, name).env.map(({ name, value }: Body) => [name, value]))

test("every document is valid by the schema of its kind, and an invalid one is not", () => {
  expect(all.map(({ kind }) => kind).sort()).toEqual([...Object.keys(MODELS), "Deployment", "Service"].sort())
  for (const body of all) new MODELS[body.kind]!(body as never).validate()
  const broker = structuredClone(find("Deployment", "broker"))
  broker.spec.template.spec.containers[0].livenessProbe.httpGet.port = {}
  expect(() => new Deployment(broker as never).validate()).toThrow()
})

test("the variables are those of the programs, and valid", () => {
  for (const [name, read] of [
    ["broker", readBrokerConfig],
    ["worker", readWorkerConfig],
  ] as const) {
    const env = values("Deployment", name)
    for (const variable of Object.keys(env)) expect(Object.keys(VARIABLES)).toContain(variable)
    read({ ...env, API_SECRET_TOKEN: "t", API_TOKENS: undefined })
  }
})

test("every secret that a container reads is in the Secret, and its placeholders do not start a broker", () => {
  const { stringData } = find("Secret", "task-queue")
  const keys = all
    .filter(({ kind }) => kind === "Deployment" || kind === "StatefulSet")
    .flatMap(({ kind, metadata }) => containerOf(kind, metadata.name).env as Body[])
    .flatMap(({ valueFrom }) => (valueFrom === undefined ? [] : [valueFrom.secretKeyRef.key]))
  expect([...new Set(keys)].sort()).toEqual(Object.keys(stringData).sort())
  const env = { API_SECRET_TOKEN: stringData["api-token"], API_TOKENS: stringData["api-tokens"] }
  expect(() => readBrokerConfig(env)).toThrow(/API_SECRET_TOKEN.*\n.*API_TOKENS/s)
})

test("pods get the time that programs take to stop", () => {
  const seconds = (name: string) => find("Deployment", name).spec.template.spec.terminationGracePeriodSeconds
  const [, preStop] = containerOf("Deployment", "broker").lifecycle.preStop.exec.command
  expect(seconds("broker")).toBeGreaterThan(
    Number(preStop) + Number(values("Deployment", "broker").SHUTDOWN_MS) / 1_000 + 5,
  )
  expect(seconds("worker")).toBeGreaterThan(Number(values("Deployment", "worker").DRAIN_MS) / 1_000 + 6)
})

test("containers run as in Compose: not as root, with a read-only root and without capabilities", () => {
  for (const { kind, metadata, spec } of all.filter(({ spec }) => spec?.template !== undefined)) {
    expect(spec.template.spec.securityContext).toMatchObject({ runAsNonRoot: true })
    expect(containerOf(kind, metadata.name).securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    })
  }
})

test("Redis runs with the options of Compose", async () => {
  const compose = Bun.YAML.parse(await Bun.file(join(root, "docker-compose.yml")).text()) as Body
  const { image, command } = compose.services.redis
  const redis = containerOf("StatefulSet", "redis")
  expect(redis.image).toBe(image)
  expect(redis.args.slice(0, command.length)).toEqual(command)
})

test("probes and the scaler ask what a broker answers", async () => {
  await using broker = await testBroker()
  const { startupProbe, readinessProbe, livenessProbe, ports } = containerOf("Deployment", "broker")
  for (const { httpGet } of [startupProbe, readinessProbe, livenessProbe]) {
    expect((await fetch(broker.url + httpGet.path)).status).toBe(200)
    expect(ports.map(({ name }: Body) => name)).toContain(httpGet.port)
  }
  const [{ port, path: page, authorization }] = find("ServiceMonitor", "broker").spec.endpoints
  expect(find("Service", "broker").spec.ports.map(({ name }: Body) => name)).toContain(port)
  expect(Object.keys(find("Secret", authorization.credentials.name).stringData)).toContain(
    authorization.credentials.key,
  )
  expect((await fetch(broker.url + page, { headers: { authorization: `Bearer ${TOKEN}` } })).status).toBe(200)
  const { url, valueLocation } = find("ScaledObject", "worker").spec.triggers[0].metadata
  await broker.call("POST", "/submit", { type: "t" })
  const headers = { authorization: `Bearer ${TOKEN}` }
  const answer = await fetch(broker.url + new URL(url).pathname, { headers })
  const path = (valueLocation as string).split(".")
  expect(path.reduce((value, name) => value[name], (await answer.json()) as Body)).toBe(1 as never)
})

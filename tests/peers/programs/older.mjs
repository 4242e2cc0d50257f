// The TypeScript client of the 1.x line over HTTP+SSE or WebSocket: PACKAGES TRANSPORT URL KEY; prints what it saw as JSON.
const [packages, kind, url, key] = process.argv.slice(2)
const at = (path) => import(`${packages}/@modelcontextprotocol/sdk/dist/esm/${path}`)
const { Client } = await at('client/index.js')
const { ElicitRequestSchema } = await at('types.js')
const { SSEClientTransport } = await at('client/sse.js')
const { WebSocketClientTransport } = await at('client/websocket.js')

const client = new Client({ name: 'peer', version: '1' }, { capabilities: { elicitation: { form: {} } } })
const content = { username: 'zoe', email: 'zoe@example.com' }
client.setRequestHandler(ElicitRequestSchema, async () => ({ action: 'accept', content }))
const headers = { Authorization: `Bearer ${key}` }
await client.connect(
  kind === 'websocket'
    ? new WebSocketClientTransport(new URL(url))
    : new SSEClientTransport(new URL(url), {
        requestInit: { headers },
        eventSourceInit: { fetch: (target, init) => fetch(target, { ...init, headers: { ...init.headers, ...headers } }) },
      }),
)
const seen = { progress: [] }
const text = async (name, args = {}, options) =>
  (await client.callTool({ name, arguments: args }, undefined, options)).content[0].text
seen.tools = (await client.listTools()).tools.map((tool) => tool.name)
seen.text = await text('test_simple_text')
await text('test_tool_with_progress', {}, { onprogress: (one) => seen.progress.push(one.progress) })
seen.elicited = await text('test_elicitation', { message: 'Who?' })
seen.large = (await text('test_large_result', { kilobytes: 900 })).length
await client.close()
console.log(JSON.stringify(seen))
process.exit(0)

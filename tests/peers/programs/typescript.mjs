// Both TypeScript clients with what every peer does: PACKAGES VERSION URL KEY MODE; prints what it saw as JSON.
// VERSION is 1 (@modelcontextprotocol/sdk) or 2 (@modelcontextprotocol/client).
const [packages, version, url, key, mode] = process.argv.slice(2)
const at = (path) => import(`${packages}/@modelcontextprotocol/${path}`)

const headers = { requestInit: { headers: { Authorization: `Bearer ${key}` } } }
const capabilities = { elicitation: { form: {} }, sampling: {} }
const values = { username: 'zoe', email: 'zoe@example.com', name: 'zoe' }
const accept = async (request) => ({
  action: 'accept',
  content: Object.fromEntries(Object.keys(request.params.requestedSchema.properties).map((name) => [name, values[name]])),
})
const sample = async () => ({ role: 'assistant', content: { type: 'text', text: 'Paris' }, model: 'none' })

let client, transport, call
if (version === '1') {
  const { Client } = await at('sdk/dist/esm/client/index.js')
  const { StreamableHTTPClientTransport } = await at('sdk/dist/esm/client/streamableHttp.js')
  const { ElicitRequestSchema, CreateMessageRequestSchema } = await at('sdk/dist/esm/types.js')
  client = new Client({ name: 'peer', version: '1' }, { capabilities })
  client.setRequestHandler(ElicitRequestSchema, accept)
  client.setRequestHandler(CreateMessageRequestSchema, sample)
  transport = new StreamableHTTPClientTransport(new URL(url), headers)
  call = (params, options) => client.callTool(params, undefined, options)
} else {
  const { Client, StreamableHTTPClientTransport } = await at('client/dist/index.mjs')
  const versionNegotiation = { mode: mode === 'legacy' ? 'legacy' : mode === 'auto' ? 'auto' : { pin: mode } }
  client = new Client({ name: 'peer', version: '2' }, { capabilities, versionNegotiation })
  client.setRequestHandler('elicitation/create', accept)
  client.setRequestHandler('sampling/createMessage', sample)
  transport = new StreamableHTTPClientTransport(new URL(url), headers)
  call = (params, options) => client.callTool(params, options)
}
await client.connect(transport)

const seen = { progress: [] }
const text = async (name, args = {}, options) => (await call({ name, arguments: args }, options)).content[0].text
seen.tools = (await client.listTools()).tools.map((tool) => tool.name).sort()
seen.text = await text('test_simple_text')
await text('test_tool_with_progress', {}, { onprogress: (one) => seen.progress.push(one.progress) })
if (mode === 'legacy') {
  seen.elicited = await text('test_elicitation', { message: 'Who?' })
  seen.sampled = await text('test_sampling', { prompt: 'Capital?' })
} else {
  seen.elicited = await text('test_input_required_result_elicitation')
  seen.sampled = await text('test_input_required_result_sampling')
}
seen.large = (await text('test_large_result', { kilobytes: 900 })).length
seen.resource = (await client.readResource({ uri: 'test://static-text' })).contents[0].text
const prompt = await client.getPrompt({ name: 'test_prompt_with_arguments', arguments: { arg1: 'a', arg2: 'b' } })
seen.prompt = prompt.messages[0].content.text
try {
  const stop = new AbortController()
  await text('test_slow', {}, { signal: stop.signal, onprogress: () => stop.abort() })
} catch {
  seen.gave_up = true
}
seen.after = await text('test_simple_text')
await client.close()
console.log(JSON.stringify(seen))
process.exit(0)

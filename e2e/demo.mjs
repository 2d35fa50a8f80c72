// The main job, end to end, by five nodes that share nothing but loopback: a chain, a creator with a gateway, two edge nodes and
// a viewer. Prints a table and fails unless every claim that it makes holds.
//
//   VIDEO=PATH       the video (default: testdata/bigbuckbunny.mp4)
//   THETIS_BIN=PATH  folder of the programs
//   KEEP=1           keep the data folders and logs

import { openAsBlob } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

import OpenAI from 'openai'

import { auditChain, finalizedHeight } from './chain-audit.mjs'
import { playToTheEnd } from './player.mjs'
import { bytes, table, tfuel, wei } from './table.mjs'
import { ThetisNode, until } from './thetis-node.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const video = process.env.VIDEO ?? path.join(here, '../testdata/bigbuckbunny.mp4')
const models = process.env.THETIS_MODELS ?? path.join(here, '../models')
const EMBEDDINGS = 100
const TFUEL = 10n ** 18n
// What each node gets from the faucet, and what the creator and the viewer may spend of it in a day: enough for an hour of video.
const PURSE = 1_000n
const PRICES = { relay: '0.2', transcode: '0.5', embeddings: '0.05', chat: '0.1' }
// A long video of one's own may take its time.
const READY_SECONDS = process.env.VIDEO ? 3600 : 240

const began = Date.now()
const say = (text) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}`)
const require = (holds, claim) => {
  if (!holds) throw new Error(`this does not hold: ${claim}`)
}

const root = await mkdtemp(path.join(os.tmpdir(), 'thetis-demo-'))
const chain = new ThetisNode('chain', root)
const creator = new ThetisNode('creator', root)
const edges = [new ThetisNode('edge-1', root), new ThetisNode('edge-2', root)]
const viewer = new ThetisNode('viewer', root)
const nodes = [chain, creator, ...edges, viewer]

async function startNodes() {
  const loopback = {
    'control.listen': '127.0.0.1:0',
    'player.listen': '127.0.0.1:0',
    'gateway.listen': '127.0.0.1:0',
    'mesh.listen': '["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"]',
    'workers.models': models,
    'payments.settle_at_fees': '2',
    'payments.daily_limit': `"${PURSE - 100n}"`,
  }
  await chain.init(['--network', 'local'], {
    ...loopback,
    'chain.rpc_listen': '127.0.0.1:0',
    'mesh.enabled': 'false',
    'player.enabled': 'false',
  })
  await chain.start()
  const rpc = (await chain.status()).chain.rpc
  say(`chain: ${rpc}`)

  await creator.init(['--rpc', rpc, '--gateway'], loopback)
  await creator.start()
  const join = (await creator.status()).overlay.listen.filter((address) => address.includes('127.0.0.1'))
  const bootstrap = join.flatMap((address) => ['--bootstrap', address])
  // What a viewer may owe while its reserve is on its way: enough for a few segments at these prices.
  const credit = { 'payments.credit': '"1"' }
  const prices = Object.fromEntries(Object.entries(PRICES).map(([kind, price]) => [`offer.prices.${kind}`, `"${price}"`]))
  for (const edge of edges) {
    await edge.init(['--rpc', rpc, '--offer', 'relay,transcode,embeddings,chat', ...bootstrap], { ...loopback, ...prices, ...credit })
  }
  await viewer.init(['--rpc', rpc, ...bootstrap], loopback)
  for (const node of [creator, viewer, ...edges]) await chain.command('faucet', node.wallet, '--amount', String(PURSE))
  for (const node of [...edges, viewer]) await node.start()
  say('creator, two edge nodes and a viewer joined the overlay; each got ' + PURSE + ' TFUEL from the faucet')
  return rpc
}

async function waitForProviders() {
  await until('both edge nodes offering all they do', 180, async () => {
    for (const edge of edges) {
      const { work } = await edge.status()
      const missing = work.kinds.filter((kind) => kind.why_none)
      if (missing.length) throw new Error(`${edge.name}: ${missing.map((kind) => `${kind.kind}: ${kind.why_none}`).join('; ')}`)
    }
    return true
  })
  say('both edge nodes offer relay, transcode, embeddings and chat')
}

async function makeVideo(gateway, key) {
  const headers = { 'x-tva-sa-id': key.id, 'x-tva-sa-secret': key.secret, 'content-type': 'application/json' }
  const api = async (method, route, body) => {
    const response = await fetch(`${gateway}${route}`, { method, headers, body: body && JSON.stringify(body) })
    const answer = await response.json()
    if (answer.status !== 'success') throw new Error(`${method} ${route}: ${answer.message}`)
    return answer.body
  }
  const [upload] = (await api('POST', '/upload')).uploads
  const put = await fetch(upload.presigned_url, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: await openAsBlob(video),
  })
  require(put.ok, `the upload was taken (it was answered with ${put.status})`)
  say('the creator uploaded the video')
  const [{ id }] = (
    await api('POST', '/video', {
      source_upload_id: upload.id,
      playback_policy: 'public',
      metadata: { name: path.basename(video) },
    })
  ).videos
  let shown = ''
  const done = await until('the video being ready', READY_SECONDS, async () => {
    const [now] = (await api('GET', `/video/${id}`)).videos
    const text = `video: ${now.state}${now.sub_state && now.sub_state !== 'none' ? `, ${now.sub_state}` : ''} ${now.progress}%`
    if (text !== shown) say((shown = text))
    if (now.state === 'error') throw Object.assign(new Error(now.error), { fatal: true })
    return now.state === 'success' && now.sub_state === 'none' && now
  })
  return { seconds: Number(done.duration), stream: new URL(done.player_uri).pathname.split('/').pop() }
}

async function watch(stream, seconds, what) {
  const { page } = await viewer.control('/api/play', { stream })
  const played = await playToTheEnd(page, seconds, path.join(root, `${what}.png`))
  const all = JSON.stringify(played)
  require(played.ended && !played.error && played.errors.length === 0, `${what}: the video played to its end (${all})`)
  require(played.byHlsJs, `${what}: hls.js played it (${all})`)
  require(Math.abs(played.currentTime - seconds) < 0.5, `${what}: the end is the source's end, at ${seconds} s (${all})`)
  const frames = played.frames / (seconds * played.frameRate)
  require(frames > 0.95, `${what}: every frame was decoded (${all})`)
  say(`${what}: Chromium decoded ${played.frames} frames to the end (${played.dropped} dropped), ${played.heights.join(', ')} lines`)
  return played
}

async function askModels(gateway, key) {
  const client = new OpenAI({ baseURL: `${gateway}/v1`, apiKey: key.key, maxRetries: 4, timeout: 120_000 })
  const questions = ['What is the capital of France?', 'Name three colours.', 'Why is the sky blue? Answer in one sentence.']
  let tokens = 0
  for (const [number, question] of questions.entries()) {
    const request = {
      model: 'smollm2-135m-instruct',
      messages: [{ role: 'user', content: question }],
      max_tokens: 40,
      temperature: 0,
    }
    let text = ''
    if (number === 0) {
      const stream = await client.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } })
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta?.content ?? ''
        tokens += chunk.usage?.completion_tokens ?? 0
      }
    } else {
      const answer = await client.chat.completions.create(request)
      text = answer.choices[0].message.content
      tokens += answer.usage.completion_tokens
    }
    require(text.trim().length > 0, `the model answered "${question}"`)
    say(`chat: ${question} → ${text.trim().replaceAll('\n', ' ').slice(0, 70)}`)
  }
  const vectors = []
  for (let start = 0; start < EMBEDDINGS; start += 5) {
    const batch = Array.from({ length: 5 }, (_, i) => `Sentence number ${start + i} of the demo.`)
    const answers = await Promise.all(batch.map((input) => client.embeddings.create({ model: 'all-minilm-l6-v2', input })))
    vectors.push(...answers.map((answer) => answer.data[0].embedding))
  }
  const unit = vectors.every((v) => v.length === 384 && Math.abs(v.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-4)
  require(vectors.length === EMBEDDINGS && unit, `${EMBEDDINGS} vectors of 384 numbers and unit length came back`)
  say(`${EMBEDDINGS} embeddings, ${tokens} chat tokens`)
}

async function settle(rpc) {
  for (const edge of edges) await edge.control('/api/settle', {})
  const height = await finalizedHeight(rpc)
  await until('the settlements being final', 60, async () => (await finalizedHeight(rpc)) >= height + 3n)
}

const sumOf = (side, field) => side.kinds.reduce((total, kind) => total + BigInt(kind[field]), 0n)

/** What an account has more than it got from the faucet; coins in its reserves count. */
const netOf = (audit, node) => audit.accounts[node.wallet].free + audit.accounts[node.wallet].reserved - PURSE * TFUEL

/** One row a node: what is earned and spent on the chain, and what vouchers promise on top, for the node or against it. */
async function showTable(audit) {
  const rows = []
  for (const node of nodes) {
    const status = await node.status()
    const done = await node.earnings('provider')
    const bought = await node.earnings('requester')
    const jobs = sumOf(done, 'jobs') || sumOf(bought, 'jobs')
    rows.push([
      node.name,
      jobs ? `${sumOf(done, 'jobs')} done, ${sumOf(bought, 'jobs')} bought` : '–',
      bytes(sumOf(done, 'bytes') + sumOf(bought, 'bytes')),
      sumOf(done, 'tokens') + sumOf(bought, 'tokens'),
      done.vouchers + bought.vouchers,
      done.transactions,
      tfuel(BigInt(status.earned.settled)),
      tfuel(BigInt(status.spent.settled)),
      tfuel(BigInt(status.earned.signed) - BigInt(status.spent.signed)),
      tfuel(BigInt(status.earned.owed) + BigInt(status.earned.lost) - BigInt(status.spent.owed)),
      node === chain ? '–' : tfuel(netOf(audit, node)),
    ])
  }
  const header = ['node', 'jobs', 'bytes', 'tokens', 'vouchers', 'transactions', 'earned', 'spent', 'signed', 'owed', 'net TFUEL']
  console.log(`\n${table(header, rows)}\n`)
  console.log('earned and spent: on the chain. signed: vouchers that are not settled yet. owed: on credit, no voucher yet. net: against the faucet, fees of 0.3 included.')
  console.log(`Prices in TFUEL: ${Object.entries(PRICES).map(([kind, price]) => `${kind} ${price}`).join(', ')} a unit.`)
}

/** The chain's own sums, wei for wei. */
async function checkSums(rpc) {
  const audit = await auditChain(rpc)
  console.log(`Chain: ${audit.height} blocks; ${Object.entries(audit.transactions).map(([name, n]) => `${n} ${name}`).join(', ')}.`)
  console.log('Σ balances + Σ (collateral + fund − used) = genesis + minted − fees burnt, in TFuelWei:')
  console.log(`  ${audit.left} = ${audit.genesis} + ${audit.minted} − ${audit.fees}`)
  require(audit.left === audit.right, `the chain's sums are equal (${audit.left} and ${audit.right})`)
  return audit
}

/** What each edge node says that it earned is what its units cost, and what the chain paid it. */
async function checkEdges(audit) {
  let transcoded = 0n
  for (const edge of edges) {
    const done = await edge.earnings('provider')
    for (const kind of done.kinds) {
      const due = BigInt(kind.units) * wei(PRICES[kind.kind])
      require(BigInt(kind.amount) === due, `${edge.name}: ${kind.units} units of ${kind.kind} are ${due} wei (${kind.amount})`)
      if (kind.kind === 'transcode') transcoded += BigInt(kind.units)
    }
    // What crosses a settlement is in no number until the payer's next voucher, some blocks later.
    await until(`${edge.name} knows where all that it earned is`, 60, async () => {
      const { earned } = await edge.status()
      const known = ['settled', 'signed', 'owed', 'lost', 'forgone'].reduce((sum, state) => sum + BigInt(earned[state]), 0n)
      return known === sumOf(await edge.earnings('provider'), 'amount')
    })
    const settled = BigInt((await edge.status()).earned.settled)
    const onChain = audit.payments
      .filter((payment) => payment.target.address.toLowerCase() === edge.wallet)
      .reduce((sum, payment) => sum + BigInt(payment.source.coins.tfuelwei), 0n)
    require(settled > 0n && settled === onChain, `${edge.name} counts as settled what the chain paid (${settled}, ${onChain})`)
    const net = netOf(audit, edge)
    require(net > 0n, `${edge.name} ends net positive (${tfuel(net)} TFUEL)`)
  }
  require(transcoded > 0n, 'an edge node transcoded')
}

async function relayed(edge) {
  const relay = (await edge.earnings()).kinds.find((kind) => kind.kind === 'relay')
  return relay ? Number(relay.units) : 0
}

let failed
try {
  const rpc = await startNodes()
  await waitForProviders()
  const gateway = (await creator.status()).gateway.url
  const key = await creator.command('gateway', 'key', 'create', 'demo')
  const { stream, seconds } = await makeVideo(gateway, key)
  say(`stream ${stream} is published: thetis play ${stream}`)
  const whole = (await creator.status()).limits.segments.files
  await until('both edge nodes holding the whole stream', 60 + seconds, async () => {
    for (const edge of edges) if ((await edge.status()).limits.segments.files < whole) return false
    return true
  })
  await watch(stream, seconds, 'first viewing')
  for (const edge of edges) require((await relayed(edge)) > 0, `${edge.name} delivered segments`)
  await askModels(gateway, key)
  await settle(rpc)
  const audit = await auditChain(rpc)
  await showTable(audit)
  await checkEdges(audit)

  await creator.stop()
  await viewer.control('/api/limits', { cache_bytes: 0 })
  await viewer.control('/api/limits', { cache_bytes: 1_000_000_000 })
  const before = await Promise.all(edges.map(relayed))
  await watch(stream, seconds, 'second viewing, with the creator stopped')
  const after = await Promise.all(edges.map(relayed))
  require(after[0] + after[1] > before[0] + before[1], `the edge nodes alone delivered the second viewing (${before}, ${after})`)
  await settle(rpc)
  await checkSums(rpc)
  say('everything holds')
} catch (error) {
  failed = error
  console.error(`\nThe demo failed: ${error.message}`)
  console.error(`Logs and data folders: ${root}`)
} finally {
  await Promise.all(nodes.map((node) => node.stop().catch(() => {})))
  if (!failed && !process.env.KEEP) await rm(root, { recursive: true, force: true })
}
process.exit(failed ? 1 : 0)

// The audit that closes the demo finds a wei that appears, vanishes or is paid twice.

import assert from 'node:assert/strict'
import http from 'node:http'
import { test } from 'node:test'

import { auditChain } from './chain-audit.mjs'

const [PAYER, PROVIDER] = [`0x${'11'.repeat(20)}`, `0x${'22'.repeat(20)}`]
const coins = (tfuelwei) => ({ thetawei: '0', tfuelwei: String(tfuelwei) })

/** Three blocks: nothing; a reserve of 100 with a collateral of 101 for a fee of 3; a payment of 40 from it for a fee of 3. */
function chain() {
  const reserve = { type: 3, hash: '0xaa', raw: { fee: coins(3), source: { address: PAYER, coins: coins(100) } } }
  const payment = {
    type: 5,
    hash: '0xbb',
    raw: { fee: coins(3), source: { address: PAYER, coins: coins(40) }, target: { address: PROVIDER, coins: coins(0) } },
  }
  return {
    blocks: [[], [reserve], [payment]],
    genesis: { [PAYER]: { free: 1000 }, [PROVIDER]: { free: 50 } },
    now: {
      [PAYER]: { free: 1000 - 3 - 201, reserves: [{ collateral: coins(101), initial_fund: coins(100), used_fund: coins(40) }] },
      [PROVIDER]: { free: 50 + 40 - 3 },
    },
  }
}

async function audit({ blocks, genesis, now }) {
  const methods = {
    'theta.GetStatus': () => ({ latest_finalized_block_height: String(blocks.length) }),
    'theta.GetBlockByHeight': ({ height }) => ({ height, transactions: blocks[Number(height) - 1] }),
    'theta.GetAccount': ({ address, height }) => {
      const { free, reserves = [] } = (height === '1' ? genesis : now)[address]
      return { coins: coins(free), reserved_funds: reserves }
    },
  }
  const server = http.createServer(async (request, response) => {
    let body = ''
    for await (const piece of request) body += piece
    const { id, method, params } = JSON.parse(body)
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result: methods[method](params[0]) }))
  })
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  try {
    return await auditChain(`http://127.0.0.1:${server.address().port}/rpc`)
  } finally {
    server.close()
  }
}

test('the sums of an honest chain are equal, and fees and payments are told', async () => {
  const found = await audit(chain())
  assert.equal(found.left, found.right)
  assert.equal(found.fees, 6n)
  assert.deepEqual(found.transactions, { 'reserve fund': 1, 'service payment': 1 })
  assert.deepEqual(found.feesPaidBy, { [PAYER]: 3n, [PROVIDER]: 3n })
  assert.equal(found.accounts[PAYER].reserved, 161n)
})

for (const [what, change] of [
  ['appears in an account', (made) => (made.now[PROVIDER].free += 1)],
  ['vanishes from an account', (made) => (made.now[PAYER].free -= 1)],
  ['is paid without being taken from the reserve', (made) => (made.now[PAYER].reserves[0].used_fund = coins(39))],
  ['of a fee is not burnt', (made) => (made.blocks[2][0].raw.fee = coins(2))],
]) {
  test(`a wei that ${what} is found`, async () => {
    const made = chain()
    change(made)
    const found = await audit(made)
    assert.notEqual(found.left, found.right)
  })
}

test('a first block that moves something cannot stand for the genesis', async () => {
  const made = chain()
  made.blocks.shift()
  await assert.rejects(audit(made), /stand for the genesis/)
})

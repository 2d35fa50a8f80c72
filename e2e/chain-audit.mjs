// Reads a whole chain over theta.* RPC and checks that no wei appears or disappears:
// Σ balances + Σ (collateral + fund − used) = genesis + minted by coinbases − burnt fees.

/** One theta.* call; `url` is the whole address, e.g. http://127.0.0.1:16888/rpc. */
export async function rpc(url, method, params = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: [params] }),
  })
  const answer = await response.json()
  if (answer.error) throw new Error(`${method}: ${answer.error.message}`)
  return answer.result
}

/** Height of the last finalized block. */
export async function finalizedHeight(url) {
  return BigInt((await rpc(url, 'theta.GetStatus')).latest_finalized_block_height)
}

/** TFuelWei of an account at a finalized height: free balance, and what its reserves hold. */
async function holdings(url, address, height) {
  let account
  try {
    account = await rpc(url, 'theta.GetAccount', { address, height: String(height) })
  } catch (error) {
    if (/not found/.test(error.message)) return { free: 0n, reserved: 0n, reserves: [] }
    throw error
  }
  const reserves = account.reserved_funds ?? []
  const reserved = reserves.reduce(
    (sum, r) => sum + BigInt(r.collateral.tfuelwei) + BigInt(r.initial_fund.tfuelwei) - BigInt(r.used_fund.tfuelwei),
    0n,
  )
  return { free: BigInt(account.coins.tfuelwei), reserved, reserves }
}

/** Every address that a decoded transaction names. */
function addressesOf(value, found) {
  if (typeof value === 'string') {
    if (/^0x[0-9a-fA-F]{40}$/.test(value)) found.add(value.toLowerCase())
  } else if (value && typeof value === 'object') {
    for (const inner of Object.values(value)) addressesOf(inner, found)
  }
}

const TRANSACTION_TYPES = { 0: 'coinbase', 2: 'send', 3: 'reserve fund', 4: 'release fund', 5: 'service payment', 6: 'split rule' }

/**
 * Walks all blocks up to the last finalized one, and compares the sum of all holdings with that after block 1 (which must be the
 * genesis sum: block 1 may move nothing), plus what coinbases minted, minus the fees, which are burnt.
 * @param url theta.* RPC
 * @returns {{height, left, right, accounts, fees, feesPaidBy, minted, transactions, payments}}: left and right are the two sides
 */
export async function auditChain(url) {
  const height = await finalizedHeight(url)
  const addresses = new Set()
  const totals = { fees: 0n, minted: 0n }
  const transactions = {}
  const feesPaidBy = {}
  const payments = []
  for (let at = 1n; at <= height; at++) {
    const block = await rpc(url, 'theta.GetBlockByHeight', { height: String(at) })
    if (block.height !== String(at)) throw new Error(`block ${at} is missing`)
    for (const { type, raw, hash } of block.transactions) {
      const name = TRANSACTION_TYPES[type] ?? `type ${type}`
      transactions[name] = (transactions[name] ?? 0) + 1
      addressesOf(raw, addresses)
      if (type === 0) {
        for (const output of raw.outputs ?? []) totals.minted += BigInt(output.coins.tfuelwei)
        continue
      }
      if (at === 1n) throw new Error('block 1 holds a transaction: it cannot stand for the genesis')
      const fee = BigInt(raw.fee.tfuelwei)
      totals.fees += fee
      // A service payment's fee is its target's; a send has its first input.
      const payer = (raw.inputs?.[0] ?? (type === 5 ? raw.target : (raw.source ?? raw.initiator))).address.toLowerCase()
      feesPaidBy[payer] = (feesPaidBy[payer] ?? 0n) + fee
      if (type === 5) payments.push({ hash, height: at, ...raw })
    }
    if (at === 1n && totals.minted !== 0n) throw new Error('block 1 mints: it cannot stand for the genesis')
  }
  const accounts = {}
  let left = 0n
  let genesis = 0n
  for (const address of addresses) {
    accounts[address] = await holdings(url, address, height)
    left += accounts[address].free + accounts[address].reserved
    genesis += (await holdings(url, address, 1n)).free
  }
  const right = genesis + totals.minted - totals.fees
  return { height, genesis, left, right, accounts, feesPaidBy, transactions, payments, ...totals }
}

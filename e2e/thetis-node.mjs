// One Thetis node as a process of its own, with its own data folder.

import { execFile, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const bin = process.env.THETIS_BIN ?? path.resolve('target/debug')

/** Waits until `look` gives something; fails after `seconds` with what it waited for. */
export async function until(what, seconds, look) {
  const deadline = Date.now() + seconds * 1000
  let last
  while (Date.now() < deadline) {
    try {
      const found = await look()
      if (found) return found
    } catch (error) {
      if (error.fatal) throw error
      last = error
    }
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`${what} did not happen within ${seconds} s${last ? `: ${last.message}` : ''}`)
}

export class ThetisNode {
  constructor(name, root) {
    this.name = name
    this.data = path.join(root, name)
    this.passphrase = path.join(root, `${name}.passphrase`)
    this.log = path.join(root, `${name}.log`)
  }

  /** Runs one command on this node's data folder and gives its JSON. */
  async command(...args) {
    const common = ['--data', this.data, '--passphrase-file', this.passphrase, '--json']
    try {
      const { stdout } = await run(path.join(bin, 'thetis'), [...args, ...common], { maxBuffer: 64 << 20 })
      return stdout.trim() ? JSON.parse(stdout) : null
    } catch (error) {
      throw new Error(`thetis ${args.join(' ')} on ${this.name}: ${error.stderr || error.message}`)
    }
  }

  /** Creates the data folder. Settings are given by their dotted names. */
  async init(flags, settings) {
    await mkdir(path.dirname(this.data), { recursive: true })
    await writeFile(this.passphrase, `passphrase of ${this.name}\n`, { mode: 0o600 })
    const set = Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`])
    const created = await this.command('init', ...flags, ...set)
    this.wallet = created.wallet.toLowerCase()
  }

  /** Starts the daemon and waits until its control API answers. */
  async start() {
    const args = ['serve', '--data', this.data, '--passphrase-file', this.passphrase]
    const log = createWriteStream(this.log, { flags: 'a' })
    this.process = spawn(path.join(bin, 'thetis'), args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.process.stdout.pipe(log)
    this.process.stderr.pipe(log)
    this.ended = new Promise((resolve) => this.process.once('exit', (code, signal) => resolve({ code, signal })))
    let gone
    this.ended.then((how) => (gone = how))
    await until(`${this.name} starting`, 60, async () => {
      if (gone) throw Object.assign(new Error(`${this.name} ended: ${JSON.stringify(gone)}; see ${this.log}`), { fatal: true })
      return (await this.status()).node
    })
    return this
  }

  /** Calls the control API. */
  async control(route, body) {
    const owner = JSON.parse(await readFile(path.join(this.data, 'owner.json'), 'utf8'))
    const response = await fetch(`${owner.control}${route}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${owner.token}`, 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await response.text()
    const answer = text ? JSON.parse(text) : {}
    if (!response.ok) throw new Error(`${this.name} ${route}: ${answer.message ?? `status ${response.status}`}`)
    return answer
  }

  status() {
    return this.control('/api/status')
  }

  earnings(side = 'provider') {
    return this.control(`/api/earnings?side=${side}`)
  }

  /** Ends the daemon: in good order, or not. */
  async stop(signal = 'SIGTERM') {
    if (!this.process || this.process.exitCode !== null) return
    this.process.kill(signal)
    const late = setTimeout(() => this.process.kill('SIGKILL'), 20_000)
    await this.ended
    clearTimeout(late)
  }
}

// The player page: hls.js over the loopback origin, with plain words when something fails.
'use strict'
;(() => {
  const stream = location.pathname.split('/').pop()
  const video = document.getElementById('video')
  const title = document.getElementById('title')
  const facts = document.getElementById('facts')
  const quality = document.getElementById('quality')
  const problem = document.getElementById('problem')
  const master = `/hls/${stream}/master.m3u8`

  const say = (text) => {
    problem.textContent = text
    problem.hidden = !text
  }

  const reason = async (response) => {
    const text = (await response.text()).trim()
    return text || `the node answered ${response.status}`
  }

  const showFacts = () => {
    const size = video.videoHeight ? `${video.videoWidth} × ${video.videoHeight}` : ''
    facts.textContent = [size, facts.dataset.creator].filter(Boolean).join(' · ')
  }

  const play = () => {
    const Hls = window.Hls
    if (Hls && Hls.isSupported()) {
      const hls = new Hls({ startLevel: -1, enableWorker: true })
      window.player = hls
      hls.on(Hls.Events.MANIFEST_PARSED, (_, data) => {
        data.levels.forEach((level, index) => {
          quality.append(new Option(`${Math.min(level.width, level.height)}p`, String(index)))
        })
        quality.disabled = false
      })
      hls.on(Hls.Events.FRAG_BUFFERED, () => say(''))
      hls.on(Hls.Events.ERROR, async (_, data) => {
        if (!data.fatal) return
        const where = data.frag?.url ?? data.url ?? master
        const answer = await fetch(where).catch(() => null)
        if (answer && answer.ok) return hls.startLoad()
        say(answer ? `Playback stopped: ${await reason(answer)}.` : 'Playback stopped: the node does not answer. Is it running?')
      })
      quality.addEventListener('change', () => {
        hls.currentLevel = Number(quality.value)
      })
      hls.loadSource(master)
      hls.attachMedia(video)
    } else if (video.canPlayType('application/vnd.apple.mpegurl')) {
      quality.closest('label').hidden = true
      video.src = master
    } else {
      say(Hls ? 'This browser cannot play HLS.' : 'This node was built without hls.js, and this browser cannot play HLS by itself.')
    }
  }

  video.addEventListener('resize', showFacts)
  fetch(`/hls/${stream}/info.json`)
    .then(async (response) => {
      if (!response.ok) throw new Error(await reason(response))
      const info = await response.json()
      title.textContent = info.title || 'Untitled'
      document.title = `${title.textContent} · Thetis`
      facts.dataset.creator = `by ${info.creator}`
      showFacts()
      play()
    })
    .catch((error) => {
      title.textContent = 'The stream cannot be played'
      say(`${error.message}.`)
    })
})()

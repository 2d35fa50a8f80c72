// Plays a stream's page in Debian's Chromium until the last frame.

import { chromium } from 'playwright-core'

/**
 * Opens the player page, plays to the end, and says what was decoded.
 * @param url the page
 * @param seconds how long the video is; playback may take that and 30 s more
 * @returns {{ended, frames, dropped, duration, currentTime, heights, byHlsJs, frameRate, error, errors}}
 */
export async function playToTheEnd(url, seconds, screenshot) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required', '--mute-audio'],
  })
  const errors = []
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    page.on('pageerror', (error) => errors.push(String(error)))
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()))
    await page.goto(url)
    await page.waitForSelector('video')
    const result = await page.evaluate(async (limit) => {
      const video = document.querySelector('video')
      const heights = new Set()
      video.muted = true
      const deadline = Date.now() + limit
      await video.play().catch(() => {})
      while (!video.ended && Date.now() < deadline) {
        if (video.videoHeight) heights.add(video.videoHeight)
        if (video.paused && !video.ended) await video.play().catch(() => {})
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      const quality = video.getVideoPlaybackQuality()
      return {
        ended: video.ended,
        frames: quality.totalVideoFrames,
        dropped: quality.droppedVideoFrames,
        duration: video.duration,
        currentTime: video.currentTime,
        heights: [...heights],
        // The page's own player; without it Chromium plays nothing of this kind.
        byHlsJs: Boolean(window.player?.url),
        frameRate: Number(window.player?.levels[window.player.currentLevel]?.frameRate ?? 0),
        error: video.error?.message ?? null,
      }
    }, (seconds + 30) * 1000)
    if (screenshot) await page.screenshot({ path: screenshot })
    return { ...result, errors }
  } finally {
    await browser.close()
  }
}

//! `thetis play` and `thetis streams`.

use clap::Args;

use super::{Place, output::columns, running::ask};
use crate::control::types::{Play, Playing, StreamRow};

/// Opens a stream's player page.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thetis play 4f1c0d9e7a6b5c4d3e2f1a0b9c8d7e6f
  mpv $(thetis play 4f1c0d9e7a6b5c4d3e2f1a0b9c8d7e6f --json | jq -r .playlist)")]
pub struct PlayCommand {
    /// The stream's share id
    stream: String,
    /// Print the address only, and open no browser
    #[arg(long)]
    no_open: bool,
}

impl PlayCommand {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let request = Play { stream: self.stream };
        let playing: Playing = ask(place, async |client| Ok(client.post("/api/play", &request).await?))?;
        if !self.no_open && !place.json {
            open_page(&playing.page);
        }
        place.output().print(&playing, |playing| {
            columns(&[
                ("Title", playing.title.clone()),
                ("Page", playing.page.clone()),
                ("Playlist", playing.playlist.clone()),
            ])
        })
    }
}

/// Opens a page in the person's browser, if there is a desktop. The address is printed in any case.
fn open_page(page: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let desktop = cfg!(target_os = "macos")
        || std::env::var_os("DISPLAY").is_some()
        || std::env::var_os("WAYLAND_DISPLAY").is_some();
    if desktop {
        let quiet = std::process::Stdio::null;
        let opened = std::process::Command::new(program).arg(page).stdout(quiet()).stderr(quiet()).spawn();
        if let Err(error) = opened {
            eprintln!("No browser could be opened ({error}); open the page yourself.");
        }
    }
}

/// `thetis streams`.
pub(super) fn list(place: &Place) -> anyhow::Result<()> {
    let streams: Vec<StreamRow> = ask(place, async |client| Ok(client.get("/api/streams").await?))?;
    place.output().print(&streams, |streams| match streams.as_slice() {
        [] => "This node has published no streams yet.".into(),
        streams => streams
            .iter()
            .map(|stream| {
                let seconds = stream.duration_ms / 1000;
                format!(
                    "{}  {}:{:02}  {}  {}\n",
                    stream.id,
                    seconds / 60,
                    seconds % 60,
                    stream.renditions.join(" "),
                    stream.title
                )
            })
            .collect(),
    })
}

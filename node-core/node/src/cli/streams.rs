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
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let desktop = set("DISPLAY") || set("WAYLAND_DISPLAY");
    if let Some((program, arguments)) = opener(std::env::consts::OS, desktop) {
        let quiet = std::process::Stdio::null;
        let mut opening = std::process::Command::new(program);
        opening.args(arguments).arg(page).stdin(quiet()).stdout(quiet()).stderr(quiet());
        if let Err(error) = opening.spawn() {
            eprintln!("No browser could be opened ({error}); open the page yourself.");
        }
    }
}

/// The program of a system that opens a page given as its last argument. Others than macOS and Windows have one only where
/// there is a `desktop`.
fn opener(system: &str, desktop: bool) -> Option<(&'static str, &'static [&'static str])> {
    match system {
        "macos" => Some(("open", &[])),
        // Not `start`, which reads the address as a command line.
        "windows" => Some(("rundll32", &["url.dll,FileProtocolHandler"])),
        _ => desktop.then_some(("xdg-open", &[])),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_opens_pages_with_its_own_program() {
        let program = |system, desktop| opener(system, desktop).map(|(program, _)| program);
        assert_eq!(program("windows", false), Some("rundll32"));
        assert_eq!(program("macos", false), Some("open"));
        assert_eq!(program("linux", true), Some("xdg-open"));
        assert_eq!(program("linux", false), None, "nobody sees it");
    }
}

//! `thetis offers`.

use theta_types::{checksum_text, format_coins};

use super::{Place, running::ask};
use crate::control::types::OfferRow;

/// Shows what providers of the network offer now.
pub(super) fn list(place: &Place) -> anyhow::Result<()> {
    let offers: Vec<OfferRow> = ask(place, async |client| Ok(client.get("/api/offers").await?))?;
    place.output().print(&offers, |offers| offers_text(offers))
}

fn offers_text(offers: &[OfferRow]) -> String {
    if offers.is_empty() {
        return "Nobody offers anything that this node has heard of. `thetis status` shows its peers.".into();
    }
    let mut text = format!("{:<11} {:<24} {:>12} {:>9}  PROVIDER\n", "KIND", "MODEL", "TFUEL A UNIT", "FREE");
    for offer in offers {
        text.push_str(&format!(
            "{:<11} {:<24} {:>12} {:>9}  {}{}{}\n",
            offer.kind.name(),
            offer.model.as_deref().unwrap_or(""),
            format_coins(&offer.price),
            format!("{} of {}", offer.free, offer.places),
            checksum_text(&offer.provider),
            offer.device.as_ref().map(|device| format!("  {device}")).unwrap_or_default(),
            offer.why_not.as_ref().map(|why| format!("  ({why})")).unwrap_or_default(),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use edge_jobs::JobKind;
    use theta_types::{Address, Wei};

    use super::*;

    #[test]
    fn each_service_has_a_line_with_its_price() {
        let row = OfferRow {
            provider: Address::repeat_byte(7),
            kind: JobKind::Chat,
            model: Some("smollm2".into()),
            price: "2000000000000000".parse::<Wei>().unwrap(),
            free: 1,
            places: 2,
            device: None,
            why_not: Some("it is this node".into()),
        };
        let text = offers_text(&[row]);
        let line = text.lines().nth(1).unwrap();
        for part in ["chat", "smollm2", "0.002", "1 of 2", "0x07", "(it is this node)"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(offers_text(&[]).starts_with("Nobody"));
    }
}

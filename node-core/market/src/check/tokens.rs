//! Tokens of a chat: what the provider claims against what can be in the text.

/// Tokens that may be on their way without text: parts of a character, and what a stop text holds back.
const HELD_BACK: u64 = 8;
/// A text's tokens when it is cut anew may be fewer than when it was written, by a little.
const RECOUNT_SHARE: u64 = 10;

/// Most bytes of a token: the longest of real models are long runs of spaces.
const LONGEST_TOKEN: u64 = 256;
/// Tokens that have been delivered and not claimed, at most: a claim comes with its text.
const UNCLAIMED: u64 = 16;
/// A claim of more tokens than one for so many bytes is counted anew: prose has four or more.
const PLAUSIBLE_TOKEN: u64 = 3;

/// The most tokens that a text of so many bytes can have: each stands for a byte at least.
pub fn most_tokens(text_bytes: u64, longest_stop: u64) -> u64 {
    text_bytes + longest_stop + HELD_BACK
}

/// The tokens that a provider claims to have delivered, as they come.
#[derive(Clone, Debug, Default)]
pub struct TokenClaim {
    claimed: u64,
    text: String,
    longest_stop: u64,
    next_recount: u64,
}

impl TokenClaim {
    /// A claim about a chat with these stop texts.
    pub fn new(stop: &[String]) -> Self {
        let longest_stop = stop.iter().map(|stop| stop.len() as u64).max().unwrap_or(0);
        Self { longest_stop, next_recount: 1, ..Self::default() }
    }

    /// Takes more text for so many tokens.
    pub fn add(&mut self, text: &str, count: u32) {
        self.text.push_str(text);
        self.claimed = self.claimed.saturating_add(u64::from(count));
    }

    /// Tokens claimed so far.
    pub fn claimed(&self) -> u64 {
        self.claimed
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is wrong with the claim by its bytes alone, if anything.
    pub fn check_bytes(&self) -> Result<(), String> {
        let most = most_tokens(self.text.len() as u64, self.longest_stop);
        if self.claimed > most {
            return Err(format!("{} tokens claimed for {} bytes of text", self.claimed, self.text.len()));
        }
        Ok(())
    }

    /// What is wrong with the text by its size, if anything: so many tokens cannot be so long.
    pub fn check_size(&self) -> Result<(), String> {
        let most = self.claimed.saturating_add(UNCLAIMED).saturating_mul(LONGEST_TOKEN);
        if self.text.len() as u64 > most {
            return Err(format!("{} bytes of text for {} tokens", self.text.len(), self.claimed));
        }
        Ok(())
    }

    /// Whether the claim is what prose of this length may have. Other claims may be honest, too (numbers, code, scripts that
    /// the model has no tokens for), and are worth a second look.
    pub fn is_plausible(&self) -> bool {
        let spare = HELD_BACK + self.longest_stop;
        self.claimed <= self.text.len() as u64 / PLAUSIBLE_TOKEN + spare
    }

    /// Whether the text is to be counted anew before so many units are paid: at 1, 2, 4, 8, … units and at the end. An
    /// early lie costs nothing, a late one costs a part of what was honest before.
    pub fn wants_recount(&mut self, units: u64, at_the_end: bool) -> bool {
        if units < self.next_recount && !at_the_end {
            return false;
        }
        self.next_recount = units.max(1).saturating_mul(2);
        self.claimed > 0
    }

    /// What is wrong with the claim when the text has `counted` tokens, if anything.
    pub fn check_count(&self, counted: u64) -> Result<(), String> {
        let most = counted + counted / RECOUNT_SHARE + self.longest_stop + HELD_BACK;
        if self.claimed > most {
            return Err(format!("{} tokens claimed for a text of {counted}", self.claimed));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_without_text_are_found_by_bytes_and_by_counting() {
        let mut claim = TokenClaim::new(&["END".into()]);
        claim.add("Hello there, world.", 5);
        assert!(claim.check_bytes().is_ok() && claim.check_count(5).is_ok());
        claim.add(" And more.", 20);
        assert!(claim.check_bytes().is_ok());
        assert!(claim.check_count(8).is_err());
        claim.add("", 40);
        assert!(claim.check_bytes().is_err());
    }

    #[test]
    fn text_without_tokens_is_bounded_and_few_bytes_a_token_are_looked_at() {
        let mut claim = TokenClaim::new(&[]);
        claim.add(&"x".repeat(16 * 256), 0);
        assert_eq!(claim.check_size(), Ok(()));
        claim.add("x", 0);
        assert!(claim.check_size().is_err());
        claim.add(&"y".repeat(255), 1);
        assert_eq!(claim.check_size(), Ok(()));

        let mut prose = TokenClaim::new(&[]);
        prose.add("The quick brown fox jumps over the lazy dog. ", 10);
        assert!(prose.is_plausible());
        prose.add("The quick brown fox jumps over the lazy dog. ", 30);
        assert!(prose.check_bytes().is_ok() && !prose.is_plausible());
    }

    #[test]
    fn recounts_come_early_and_then_ever_less_often() {
        let mut claim = TokenClaim::new(&[]);
        claim.add("text", 1);
        let asked: Vec<u64> = (1..=20).filter(|units| claim.wants_recount(*units, false)).collect();
        assert_eq!(asked, [1, 2, 4, 8, 16]);
        assert!(claim.wants_recount(20, true));
    }
}

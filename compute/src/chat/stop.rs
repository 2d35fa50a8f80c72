//! Stop texts, which may lie across tokens.

use crate::ComputeError;

const MAX_TEXTS: usize = 16;
const MAX_BYTES: usize = 512;

/// Watches an answer for texts that end it. Text that may be the beginning of one is held back until that is decided.
#[derive(Debug)]
pub struct StopTexts {
    texts: Vec<String>,
    held: String,
}

/// What may be passed on of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// Text that is certain to be part of the answer.
    pub text: String,
    /// Whether a stop text was met; it is not part of the answer.
    pub stopped: bool,
}

impl StopTexts {
    /// Watches for any of `texts`.
    pub fn new(texts: &[String]) -> Result<Self, ComputeError> {
        if texts.len() > MAX_TEXTS {
            return Err(ComputeError::BadOrder(format!("at most {MAX_TEXTS} stop texts can be watched for")));
        }
        if texts.iter().any(|text| text.is_empty() || text.len() > MAX_BYTES) {
            return Err(ComputeError::BadOrder(format!("a stop text must have 1 to {MAX_BYTES} bytes")));
        }
        Ok(Self { texts: texts.to_vec(), held: String::new() })
    }

    /// Takes more of the answer. Nothing may be pushed after a stop.
    pub fn push(&mut self, text: &str) -> Passed {
        self.held += text;
        if let Some(at) = self.texts.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return Passed { text: std::mem::take(&mut self.held), stopped: true };
        }
        let keep = self.held.len() - self.undecided();
        let undecided = self.held.split_off(keep);
        Passed { text: std::mem::replace(&mut self.held, undecided), stopped: false }
    }

    /// The text that was held back, when the answer ends for another reason.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end that a stop text begins with.
    fn undecided(&self) -> usize {
        let longest = self.texts.iter().map(|stop| stop.len() - 1).max().unwrap_or(0);
        let start = self.held.len().saturating_sub(longest);
        (start..self.held.len())
            .filter(|at| self.held.is_char_boundary(*at))
            .find(|at| self.texts.iter().any(|stop| stop.starts_with(&self.held[*at..])))
            .map_or(0, |at| self.held.len() - at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn watching(texts: &[&str]) -> StopTexts {
        StopTexts::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_stop_text_across_tokens_ends_the_answer_before_it() {
        let mut stop = watching(&["END"]);
        assert_eq!(stop.push("abcE"), Passed { text: "abc".into(), stopped: false });
        assert_eq!(stop.push("N"), Passed { text: String::new(), stopped: false });
        assert_eq!(stop.push("D and more"), Passed { text: String::new(), stopped: true });
    }

    #[test]
    fn text_that_only_began_like_a_stop_text_is_passed_on() {
        let mut stop = watching(&["END"]);
        assert_eq!(stop.push("EN").text, "");
        assert_eq!(stop.push("EN").text, "EN");
        assert_eq!(stop.push("!").text, "EN!");
        assert_eq!(stop.push("E").text, "");
        assert_eq!(stop.finish(), "E");
    }

    #[test]
    fn the_stop_text_that_comes_first_counts() {
        assert_eq!(
            watching(&["world", "lo"]).push("hello world"),
            Passed { text: "hel".into(), stopped: true }
        );
    }

    #[test]
    fn empty_long_or_many_stop_texts_are_refused() {
        for texts in [vec![String::new()], vec!["x".repeat(MAX_BYTES + 1)], vec!["x".into(); MAX_TEXTS + 1]] {
            assert!(matches!(StopTexts::new(&texts), Err(ComputeError::BadOrder(_))));
        }
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_answer_as_the_whole(
            pieces in vec("[abé]{0,4}", 0..12),
            texts in vec("[abé]{1,4}", 0..4),
        ) {
            let whole: String = pieces.concat();
            let end = texts.iter().filter_map(|stop| whole.find(stop.as_str())).min();
            let mut stop = StopTexts::new(&texts).unwrap();
            let (mut answer, mut stopped) = (String::new(), false);
            for piece in &pieces {
                let passed = stop.push(piece);
                answer += &passed.text;
                if passed.stopped {
                    stopped = true;
                    break;
                }
            }
            if !stopped {
                answer += &stop.finish();
            }
            prop_assert_eq!(stopped, end.is_some());
            // Pieces may decide on a stop text that ends sooner, though another one began earlier.
            prop_assert!(whole.starts_with(&answer));
            if let Some(end) = end {
                prop_assert!(answer.len() >= end);
                prop_assert!(texts.iter().any(|stop| whole[answer.len()..].starts_with(stop.as_str())));
            } else {
                prop_assert_eq!(answer, whole);
            }
        }
    }
}

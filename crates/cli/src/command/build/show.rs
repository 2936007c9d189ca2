//! A build as people see it: a line for each step, and what commands say below it.

use crate::progress::Line;
use api::{
    Error, Result,
    image::{ImageProgress, ImageRecord},
};
use std::time::Duration;
use wire::client::Lines;

/// Shows how it goes until it ends.
pub async fn follow(mut lines: Lines<ImageProgress>, name: &str, quiet: bool) -> Result<(ImageRecord, Duration)> {
    let line = Line::new(name);
    while let Some(progress) = lines.next().await {
        let progress = match progress {
            Ok(progress) => progress,
            Err(error) => {
                line.end();
                return Err(error);
            }
        };
        if let Some(text) = said(&progress).filter(|_| !quiet) {
            line.note(&text);
        }
        match progress {
            ImageProgress::Fetching { done, total, .. } => line.set(done, total, &api::Bytes(done).to_string()),
            ImageProgress::Working { message } => line.set(0, 0, &message.chars().take(60).collect::<String>()),
            ImageProgress::Failed { error } => {
                line.end();
                return Err(error);
            }
            ImageProgress::Done { image } => return Ok((*image, line.end())),
            ImageProgress::Step { .. } | ImageProgress::Output { .. } | ImageProgress::Pushed { .. } => {}
        }
    }
    line.end();
    Err(Error::unreachable("the connection broke off before the image was there"))
}

/// A line for what has to be said.
fn said(progress: &ImageProgress) -> Option<String> {
    match progress {
        ImageProgress::Step { number, of, text, cached } => {
            let cached = if *cached && !text.contains("FROM ") { "   (cached)" } else { "" };
            Some(format!("{number}/{of} {text}{cached}"))
        }
        ImageProgress::Output { number, line } => Some(format!("  {number} | {line}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_what_they_say() {
        let step = |text: &str, cached| said(&ImageProgress::Step { number: 2, of: 5, text: text.to_owned(), cached });
        assert_eq!(step("RUN make", false).as_deref(), Some("2/5 RUN make"));
        assert_eq!(step("RUN make", true).as_deref(), Some("2/5 RUN make   (cached)"));
        let said = said(&ImageProgress::Output { number: 2, line: "cc".to_owned() });
        assert_eq!(said.as_deref(), Some("  2 | cc"));
    }
}

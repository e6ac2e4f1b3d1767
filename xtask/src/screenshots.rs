//! The stage of `cargo xtask ci` that looks at pages: a browser, if one is there, opens those of the newest run and draws them
//! into its artifacts, wide and narrow, light and dark. A page that complains is red; without a browser nothing is drawn.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use lab::base::command::Command;
use lab::base::error::IoContext as _;
use lab::trial::{artifacts, page};
use lab::{Error, Result};

/// Browsers that draw without a screen.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Scenarios whose pages are drawn, if they ran.
const DRAWN: [&str; 5] = ["write_read", "lost_write_middle", "rnr_then_success", "two_clients", "size_8m"];

/// Lessons whose pages are drawn, if they ran.
const LESSONS_DRAWN: [&str; 3] = ["minimal_flow", "go_back_n", "atomics"];

/// Widths of the window, its height, and schemes.
const WIDTHS: [u32; 2] = [1280, 390];
const HEIGHT: u32 = 1700;
const SCHEMES: [(&str, &str); 2] = [("light", "1"), ("dark", "0")];

/// Narrowest window that Chromium opens: a page in a narrower one is laid out as wide as this and cut off.
const NARROWEST: u32 = 500;

/// Longest time that one picture may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Draws the pages of the newest run in `home`; `echo` is told what is drawn.
///
/// # Errors
///
/// A page writes to the browser's console, or is not drawn within the limit.
pub(crate) fn draw(home: &Path, echo: impl Fn(&str)) -> Result<()> {
    let Some(browser) = BROWSERS.iter().find_map(|name| crate::setup_git::on_path(name)) else {
        echo("no browser is there, so no page is drawn: install chromium for screenshots");
        return Ok(());
    };
    let Some(run) = artifacts::latest_with_results(home) else {
        echo("no run is kept, so no page is drawn");
        return Ok(());
    };
    let pages = DRAWN.iter().map(|name| (*name, run.join(name).join(page::FILE)));
    let lessons = LESSONS_DRAWN.iter().map(|name| (*name, run.join(format!("{name}.html"))));
    let pages = pages.chain(lessons).chain([("index", run.join(page::INDEX_FILE))]);
    let pages = pages.filter(|(_, page)| page.is_file());
    let directory = run.join("screenshots");
    fs::create_dir_all(&directory).at("failed to create", &directory)?;
    let mut complaints = Vec::new();
    for (name, page) in pages {
        for width in WIDTHS {
            for (scheme, number) in SCHEMES {
                let picture = directory.join(format!("{name}-{width}-{scheme}.png"));
                complaints.extend(shot(&browser, &page, &picture, width, number)?);
            }
        }
    }
    echo(&format!("pages are drawn in {}", directory.display()));
    if complaints.is_empty() {
        return Ok(());
    }
    complaints.sort();
    complaints.dedup();
    Err(Error::setup(format!("a page complains in the browser:\n{}", complaints.join("\n"))))
}

/// Draws one page; gives what it wrote to the console.
fn shot(browser: &Path, page: &Path, picture: &Path, width: u32, scheme: &str) -> Result<Vec<String>> {
    let profile = tempfile::tempdir().at("failed to create a directory in", &std::env::temp_dir())?;
    let shown = if width < NARROWEST {
        let frame = profile.path().join("frame.html");
        fs::write(&frame, framed(page, width)).at("failed to write", &frame)?;
        address(&frame)
    } else {
        address(page)
    };
    let command = Command::new([browser])
        // Its own files are all that it opens.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--hide-scrollbars", "--enable-logging=stderr"])
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("--window-size={width},{HEIGHT}"))
        .arg(shown);
    let said = command.output(LIMIT)?.stderr;
    if !picture.is_file() {
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        return Err(Error::setup(format!("{} drew nothing of {}", browser.display(), page.display()))
            .next(last.join("\n")));
    }
    let is_complaint = |line: &&str| line.contains(":CONSOLE:") || line.contains(":CONSOLE(");
    Ok(said.lines().filter(is_complaint).map(|line| format!("{}: {line}", page.display())).collect())
}

/// A page around another, which is as wide there as it is asked for.
fn framed(page: &Path, width: u32) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>frame</title>\n\
         <style>html {{ color-scheme: light dark; }} body {{ margin: 0; }} iframe {{ display: block; border: 0; }}</style>\n\
         <iframe title=\"page\" width=\"{width}\" height=\"{HEIGHT}\" src=\"{}\"></iframe></html>\n",
        address(page)
    )
}

/// A file's address: whatever is in its path, no part of it is a query, a fragment or markup.
fn address(file: &Path) -> String {
    let mut out = String::from("file://");
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                out.push(char::from(*byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_in_a_frame_has_the_width_and_its_path_is_no_markup() {
        let html = framed(Path::new("/a b/\"x#y?.html"), 390);
        assert!(
            html.contains("width=\"390\" height=\"1700\" src=\"file:///a%20b/%22x%23y%3F.html\"></iframe>"),
            "{html}"
        );
    }

    #[test]
    fn nothing_is_drawn_and_nothing_red_without_a_run() {
        let home = tempfile::tempdir().unwrap();
        draw(home.path(), |_| {}).unwrap();
        assert!(fs::read_dir(home.path()).unwrap().next().is_none());
    }
}

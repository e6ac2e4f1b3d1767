//! SVG as PNG and as PDF, with letters of its own: the same bytes on every computer, whatever fonts it has.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use svg2pdf::{ConversionOptions, PageOptions};

use crate::Error;

/// Pixels of a picture that may take as much memory as this, four bytes each.
const PIXELS_MAX: f32 = 120e6;

/// Longest side of a page in points, by the PDF specification.
const POINTS_MAX: f32 = 14_400.0;

fn tree(svg: &str) -> Result<Tree, Error> {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(epaint_default_fonts::HACK_REGULAR.to_vec());
    fonts.load_font_data(epaint_default_fonts::NOTO_EMOJI_REGULAR.to_vec());
    fonts.set_monospace_family("Hack");
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    Tree::from_str(svg, &options).map_err(|error| Error::new(format!("failed to read the picture: {error}")))
}

/// Draws it as PNG, at twice its size where that is not too large.
///
/// # Errors
/// The picture would take more memory than is reasonable.
pub(crate) fn png(svg: &str) -> Result<Vec<u8>, Error> {
    let tree = tree(svg)?;
    let size = tree.size();
    let area = size.width() * size.height();
    let scale = if area * 4.0 <= PIXELS_MAX { 2.0 } else { 1.0 };
    let (width, height) = ((size.width() * scale).ceil() as u32, (size.height() * scale).ceil() as u32);
    let too_large = || {
        Error::new(format!("a PNG of {width} by {height} pixels is too large"))
            .next("choose packets with `--packets A..B` or `--limit`, or write a .pdf or .svg")
    };
    if area * scale * scale > PIXELS_MAX {
        return Err(too_large());
    }
    let mut pixels = Pixmap::new(width, height).ok_or_else(too_large)?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| Error::new(format!("failed to write a PNG: {error}")))
}

/// Writes it as PDF: one page, whose text can be searched and copied.
///
/// # Errors
/// The page cannot be made.
pub(crate) fn pdf(svg: &str) -> Result<Vec<u8>, Error> {
    let tree = tree(svg)?;
    let longest = tree.size().width().max(tree.size().height());
    // 72 points are an inch: a longer page has smaller letters.
    let dpi = (72.0 * longest / POINTS_MAX).max(96.0);
    svg2pdf::to_pdf(&tree, ConversionOptions::default(), PageOptions { dpi })
        .map_err(|error| Error::new(format!("failed to write a PDF: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\" height=\"40\"><rect width=\"200\" height=\"40\" fill=\"#fff\"/>\
        <text x=\"10\" y=\"24\" font-family=\"DejaVu Sans Mono, Hack, monospace\" font-size=\"12\" fill=\"#000\">RC RDMA WRITE µ…</text></svg>";

    #[test]
    fn png_is_twice_as_large_and_has_letters() {
        let pixels = Pixmap::decode_png(&png(SVG).unwrap()).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (400, 80));
        let dark = pixels.pixels().iter().filter(|pixel| pixel.red() < 96).count();
        assert!(dark > 300, "{dark} dark pixels");
    }

    /// Texts of a group and of all groups in it, as they are drawn.
    fn drawn(group: &resvg::usvg::Group, texts: &mut Vec<String>) {
        for node in group.children() {
            match node {
                resvg::usvg::Node::Group(group) => drawn(group, texts),
                resvg::usvg::Node::Text(text) => {
                    // A letter without a shape would be a hole.
                    assert!(text.flattened().bounding_box().width() > 0.0, "{text:?}");
                    texts.push(text.chunks().iter().map(|chunk| chunk.text()).collect());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn png_and_pdf_have_the_labels_of_the_ladder() {
        for rule in [roce::Rule::RequestPsnGap, roce::Rule::RequestRefused, roce::Rule::IcrcMismatch] {
            let mut analysis = roce::Analysis::new(roce::Names::new());
            for (number, (time_us, frame)) in (1..).zip(roce::synth::conversation(rule)) {
                analysis.push(&roce::capture::Record::ethernet(number, time_us * 1_000, &frame));
            }
            let ladder = analysis.finish().ladder(&roce::LadderOptions::default());
            let svg = ladder.to_svg();
            let mut texts = Vec::new();
            drawn(tree(&svg).unwrap().root(), &mut texts);
            let labels = ladder.labels();
            for words in labels.iter().flatten().filter(|words| !words.is_empty()) {
                assert!(texts.contains(words), "{words} of {texts:?}");
            }
            assert!(pdf(&svg).unwrap().starts_with(b"%PDF") && !png(&svg).unwrap().is_empty());
        }
    }

    #[test]
    fn picture_that_would_take_too_much_memory_is_refused() {
        let large = SVG.replace("width=\"200\" height=\"40\">", "width=\"20000\" height=\"20000\">");
        let error = png(&large).unwrap_err().to_string();
        assert!(error.contains("20000 by 20000 pixels") && error.contains("--packets"), "{error}");
        // A PDF of it is a page all the same.
        assert!(pdf(&large).unwrap().starts_with(b"%PDF"));
    }
}

//! Plots of a lesson: series over an axis of numbers, or bars over names; drawn as SVG on white by `plotters`.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Size of a picture, in pixels.
const SIZE: (u32, u32) = (720, 380);

/// Colours of series, one after the other; each has a mark of its own too.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x0b, 0x5c, 0xad),
    RGBColor(0xa0, 0x4a, 0x00),
    RGBColor(0x1a, 0x7f, 0x37),
    RGBColor(0x7b, 0x3f, 0xb5),
    RGBColor(0x57, 0x60, 0x6a),
];

/// Colour of text and axes.
const INK: RGBColor = RGBColor(0x1b, 0x1f, 0x24);

/// Colour of the grid.
const GRID: RGBColor = RGBColor(0xd0, 0xd7, 0xde);

/// Scale of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0 on, each step as far as the other.
    Linear,
    /// Each step twice the one before; values are above 0.
    Doubling,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Doubling => value.max(f64::MIN_POSITIVE).log2(),
        }
    }

    fn value(self, place: f64) -> f64 {
        match self {
            Scale::Linear => place,
            Scale::Doubling => place.exp2(),
        }
    }

    /// Range of an axis that shows all of `values`.
    fn range(self, values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
        let (least, most) = values
            .map(|value| self.place(value))
            .fold((f64::MAX, f64::MIN), |(least, most), place| (least.min(place), most.max(place)));
        match self {
            Scale::Linear => 0.0..(most * 1.08).max(1e-9),
            Scale::Doubling => (least - 0.25).floor()..(most + 0.25).ceil(),
        }
    }

    /// Number of labels that fit, whole steps on a doubling axis.
    fn labels(self, range: &std::ops::Range<f64>, most: usize) -> usize {
        match self {
            Scale::Linear => most,
            Scale::Doubling => ((range.end - range.start) as usize + 1).min(most),
        }
    }
}

/// Series of a plot.
#[derive(Debug)]
pub(crate) struct PlotSeries {
    /// Name.
    pub(crate) name: String,
    /// Points.
    pub(crate) points: Vec<(f64, f64)>,
    /// True of a theory: dashed, and without marks.
    pub(crate) is_theory: bool,
}

/// Plot.
#[derive(Debug)]
pub(crate) struct Plot {
    /// Title.
    pub(crate) title: String,
    /// Words at both axes.
    axes: [String; 2],
    scales: [Scale; 2],
    /// Names of bars, where it has bars: series are their heights, in the same order.
    bars: Vec<String>,
    series: Vec<PlotSeries>,
}

impl Plot {
    /// Lines over an axis of numbers.
    pub(crate) fn lines(title: &str, x: (&str, Scale), y: (&str, Scale)) -> Plot {
        Plot {
            title: title.to_owned(),
            axes: [x.0.to_owned(), y.0.to_owned()],
            scales: [x.1, y.1],
            bars: Vec::new(),
            series: Vec::new(),
        }
    }

    /// Bars over names.
    pub(crate) fn bars(title: &str, names: impl IntoIterator<Item = String>, y: &str) -> Plot {
        Plot {
            bars: names.into_iter().collect(),
            ..Plot::lines(title, ("", Scale::Linear), (y, Scale::Linear))
        }
    }

    /// Adds what was measured.
    #[must_use]
    pub(crate) fn series(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Plot {
        let points = points.into_iter().collect();
        self.series.push(PlotSeries { name: name.into(), points, is_theory: false });
        self
    }

    /// Adds the heights of bars.
    #[must_use]
    pub(crate) fn heights(self, name: impl Into<String>, heights: impl IntoIterator<Item = f64>) -> Plot {
        let points: Vec<(f64, f64)> = (0..).map(f64::from).zip(heights).collect();
        self.series(name, points)
    }

    /// Adds what a theory says.
    #[must_use]
    pub(crate) fn theory(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Plot {
        let points = points.into_iter().collect();
        self.series.push(PlotSeries { name: name.into(), points, is_theory: true });
        self
    }

    /// Draws it as one `svg` element.
    ///
    /// # Errors
    ///
    /// It has no point, or one that is no number.
    pub(crate) fn to_svg(&self) -> Result<String, String> {
        let values = || self.series.iter().flat_map(|series| series.points.iter());
        if values().next().is_none() || values().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
            return Err(format!("the plot \"{}\" has no points, or one that is no number", self.title));
        }
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|error| format!("failed to draw \"{}\": {error}", self.title))?;
        Ok(svg)
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let x_range = match self.bars.len() {
            0 => self.scales[0].range(points().map(|point| point.0)),
            count => -0.5..count as f64 - 0.5,
        };
        let mut y_range = self.scales[1].range(points().map(|point| point.1));
        let is_bars = !self.bars.is_empty();
        if is_bars && self.series.len() > 1 {
            // Room for the words of the series.
            y_range.end *= 1.15 + 0.08 * self.series.len() as f64;
        }
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 17).into_font().color(&INK))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(46)
            .y_label_area_size(84)
            .build_cartesian_2d(x_range.clone(), y_range.clone())?;
        let [x_scale, y_scale] = self.scales;
        let x_label = |place: &f64| match is_bars {
            true => self.bar_name(*place),
            false => number(x_scale.value(*place)),
        };
        let label = ("sans-serif", 13).into_font().color(&INK);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style(label.clone())
            .axis_desc_style(label.clone())
            .x_desc(self.axes[0].as_str())
            .y_desc(self.axes[1].as_str())
            .x_labels(if is_bars { 2 * self.bars.len() + 1 } else { x_scale.labels(&x_range, 9) })
            .y_labels(y_scale.labels(&y_range, 8))
            .x_label_formatter(&x_label)
            .y_label_formatter(&|place| number(y_scale.value(*place)))
            .draw()?;
        for (at, series) in self.series.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let places: Vec<(f64, f64)> =
                series.points.iter().map(|(x, y)| (x_scale.place(*x), y_scale.place(*y))).collect();
            let drawn = match (is_bars, series.is_theory) {
                (true, _) => {
                    let (width, first) = (0.7 / self.series.len() as f64, -0.35);
                    let bar = |(x, y): &(f64, f64)| {
                        let left = x + first + width * at as f64;
                        Rectangle::new([(left, 0.0), (left + width * 0.92, *y)], colour.filled())
                    };
                    let tops = places.iter().map(|(x, y)| {
                        let middle = x + first + width * (at as f64 + 0.46);
                        let style = label.clone().pos(Pos::new(HPos::Center, VPos::Bottom));
                        Text::new(number(*y), (middle, *y), style)
                    });
                    chart.draw_series(tops)?;
                    chart.draw_series(places.iter().map(bar))?
                }
                (false, true) => {
                    chart.draw_series(DashedLineSeries::new(places, 6, 4, colour.stroke_width(2)))?
                }
                (false, false) => {
                    let marks: Vec<(f64, f64)> = places.clone();
                    chart.draw_series(LineSeries::new(places, colour.stroke_width(2)))?;
                    match at % 3 {
                        0 => chart
                            .draw_series(marks.into_iter().map(|at| Circle::new(at, 4, colour.filled())))?,
                        1 => chart.draw_series(
                            marks.into_iter().map(|at| TriangleMarker::new(at, 6, colour.filled())),
                        )?,
                        _ => chart.draw_series(
                            marks.into_iter().map(|at| Cross::new(at, 5, colour.stroke_width(2))),
                        )?,
                    }
                }
            };
            drawn
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        }
        if self.series.len() > 1 {
            let position = match (is_bars, self.starts_high()) {
                (true, _) => SeriesLabelPosition::UpperRight,
                (false, true) => SeriesLabelPosition::LowerLeft,
                (false, false) => SeriesLabelPosition::UpperLeft,
            };
            chart
                .configure_series_labels()
                .position(position)
                .label_font(label)
                .background_style(WHITE.mix(0.85))
                .border_style(GRID)
                .draw()?;
        }
        root.present()?;
        drop(chart);
        Ok(())
    }

    /// True if the first series is higher on its left than on its right: the words stand on the other side.
    fn starts_high(&self) -> bool {
        let points = self.series.first().map(|series| series.points.as_slice()).unwrap_or_default();
        match (points.first(), points.last()) {
            (Some(first), Some(last)) => first.1 > last.1,
            _ => false,
        }
    }

    /// Name of the bars around a place of the axis; none between them.
    fn bar_name(&self, place: f64) -> String {
        let nearest = place.round();
        match (place - nearest).abs() < 0.01 && nearest >= 0.0 {
            true => self.bars.get(nearest as usize).cloned().unwrap_or_default(),
            false => String::new(),
        }
    }
}

/// A number in as few signs as tell it: `0.05`, `12.5`, `4096`, `65.5 k`.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let plain = |value: f64, digits: usize| {
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    };
    match size {
        0.0 => "0".to_owned(),
        _ if size >= 1e9 => format!("{} G", plain(value / 1e9, 1)),
        _ if size >= 1e6 => format!("{} M", plain(value / 1e6, 1)),
        _ if size >= 1e4 => format!("{} k", plain(value / 1e3, 1)),
        _ if size >= 100.0 => plain(value, 0),
        _ if size >= 10.0 => plain(value, 1),
        _ if size >= 1.0 => plain(value, 2),
        _ => plain(value, 4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_theory_are_one_svg_without_links() {
        let plot = Plot::lines("t", ("loss", Scale::Linear), ("goodput", Scale::Doubling))
            .series("seen", [(0.0, 1.0), (1.0, 0.5)])
            .theory("said", [(0.0, 1.0), (1.0, 0.4)]);
        let svg = plot.to_svg().unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(svg.contains("loss") && svg.contains("seen") && svg.contains("said"), "{svg}");
        assert!(!svg.contains("href") && !svg.contains("<script"), "{svg}");
    }

    #[test]
    fn bars_have_their_names_and_heights() {
        let names = ["client", "server"].map(str::to_owned);
        let svg = Plot::bars("t", names, "packets").heights("a", [3.0, 42.0]).to_svg().unwrap();
        for word in ["client", "server", "42", "packets"] {
            assert!(svg.contains(word), "{word}: {svg}");
        }
    }

    #[test]
    fn plot_of_nothing_is_refused() {
        let plot = || Plot::lines("empty", ("", Scale::Linear), ("", Scale::Linear));
        assert!(plot().to_svg().unwrap_err().contains("empty"));
        assert!(plot().series("x", [(f64::NAN, 1.0)]).to_svg().is_err());
    }

    #[test]
    fn numbers_are_short() {
        let told = [0.0, 0.05, 1.5, 12.34, 4096.0, 65536.0, 2.0e6].map(number);
        assert_eq!(told, ["0", "0.05", "1.5", "12.3", "4096", "65.5 k", "2 M"]);
    }
}

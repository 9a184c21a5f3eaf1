//! How the drawings of the project look: their colours, and the legend.
//!
//! It knows no data, and no axis.

use plotters::chart::{ChartContext, SeriesLabelPosition};
use plotters::coord::CoordTranslate;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{Color, DrawingBackend};
use plotters::style::{IntoFont, RGBColor, WHITE};

/// Letters and axes.
pub const INK: RGBColor = RGBColor(60, 60, 67);
/// Lines of the grid, and around the legend.
pub const GRID: RGBColor = RGBColor(225, 225, 230);

// Colours that stay apart for colour-blind eyes (Okabe and Ito).
/// Dark blue.
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
/// Light blue.
pub const SKY: RGBColor = RGBColor(86, 180, 233);
/// Bluish green.
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
/// Light orange.
pub const AMBER: RGBColor = RGBColor(230, 159, 0);
/// Dark orange.
pub const ORANGE: RGBColor = RGBColor(213, 94, 0);
/// Purple.
pub const PURPLE: RGBColor = RGBColor(150, 90, 160);

/// Draws what the colours mean into a corner.
///
/// # Errors
/// What the drawing says.
pub fn draw_legend<'a, B: DrawingBackend + 'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, B, C>,
    corner: SeriesLabelPosition,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    chart
        .configure_series_labels()
        .position(corner)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(("sans-serif", 13).into_font().color(&INK))
        .draw()
}

//! The families as a timeline: years from left to right, a lane for each kind, a curve from each family to those that build on it.

use super::{Family, Kind};
use std::fmt::Write as _;

/// Width and height of a family's box.
const BOX: (f32, f32) = (146.0, 40.0);
/// Between boxes of a lane, and between years: room for curves.
const GAP: (f32, f32) = (44.0, 14.0);
/// Left of the first year, for the names of lanes; above the lanes, for title and years.
const FRAME: (f32, f32) = (150.0, 96.0);
/// Around the boxes of a lane.
const PAD: f32 = 14.0;
/// Below the lanes, for the key.
const FOOT: f32 = 56.0;

/// A lane's strong and its light colour.
fn colours(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Recurrent => ("#8a5a00", "#fdf6e7"),
        Kind::Convolutional => ("#9a3412", "#fdf1ec"),
        Kind::Encoder => ("#1d5c8f", "#edf5fb"),
        Kind::EncoderDecoder => ("#5b3f99", "#f4f0fb"),
        Kind::Decoder => ("#1a6b4a", "#edf7f2"),
        Kind::Vision => ("#8d2a63", "#fbeff6"),
    }
}

/// The timeline.
pub(super) fn timeline(all: &[Family]) -> String {
    let mut years: Vec<u16> = all.iter().map(|f| f.year).collect();
    years.dedup();
    let column = |year: u16| years.iter().position(|y| *y == year).unwrap_or(0) as f32;
    let x = |year: u16| FRAME.0 + column(year) * (BOX.0 + GAP.0);
    let width = FRAME.0 + years.len() as f32 * (BOX.0 + GAP.0) + PAD;

    let mut lanes = Vec::new();
    let mut places = vec![(0.0, 0.0); all.len()];
    let mut top = FRAME.1;
    for kind in Kind::ALL {
        let mut most = 0;
        for year in &years {
            let own: Vec<usize> = (0..all.len()).filter(|i| all[*i].kind == kind && all[*i].year == *year).collect();
            most = most.max(own.len());
            for (place, i) in own.into_iter().enumerate() {
                places[i] = (x(*year), top + PAD + place as f32 * (BOX.1 + GAP.1));
            }
        }
        let height = 2.0 * PAD + most as f32 * (BOX.1 + GAP.1) - GAP.1;
        lanes.push((kind, top, height));
        top += height + GAP.1;
    }

    let height = top + FOOT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"system-ui, Helvetica, Arial, sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut out, (24.0, 40.0), "font-size=\"22\" font-weight=\"600\" fill=\"#1b1f24\"", "Families of models");
    let running = all.iter().filter(|f| f.runs()).count();
    let told =
        format!("{running} of {} run in Argand; a curve leads from a family to those that build on it", all.len());
    text(&mut out, (24.0, 60.0), "font-size=\"12\" fill=\"#57606a\"", &told);
    for (kind, top, height) in &lanes {
        let (strong, light) = colours(*kind);
        rect(&mut out, (12.0, *top), (width - 24.0, *height), &format!("rx=\"8\" fill=\"{light}\""));
        let style = format!("font-size=\"13\" font-weight=\"600\" fill=\"{strong}\"");
        text(&mut out, (24.0, top + height / 2.0 + 4.0), &style, kind.name());
    }
    for year in &years {
        let middle = x(*year) + BOX.0 / 2.0;
        let style = "font-size=\"13\" font-weight=\"600\" text-anchor=\"middle\" fill=\"#57606a\"";
        text(&mut out, (middle, FRAME.1 - 12.0), style, &year.to_string());
    }
    for (i, family) in all.iter().enumerate() {
        for parent in all.iter().enumerate().filter(|(_, p)| family.from.contains(&p.name)) {
            curve(&mut out, places[parent.0], places[i], colours(parent.1.kind).0);
        }
    }
    all.iter().zip(&places).for_each(|(family, at)| card(&mut out, family, *at));
    key(&mut out, top + 14.0);
    out.push_str("</svg>\n");
    out
}

/// A family: its name, sizes and licence; its source is told where the pointer rests.
fn card(out: &mut String, family: &Family, (x, y): (f32, f32)) {
    let (strong, _) = colours(family.kind);
    let told = format!("{}. {}. Licence: {}", family.name, family.source, family.licence());
    let _ = writeln!(out, "<g><title>{}</title>", escaped(&told));
    let (style, name, more) = match family.runs() {
        true => (format!("fill=\"{strong}\" stroke=\"{strong}\""), "#ffffff", "#ffffff\" fill-opacity=\"0.85"),
        false => (format!("fill=\"#ffffff\" stroke=\"{strong}\" stroke-dasharray=\"4 3\""), strong, "#57606a"),
    };
    rect(out, (x, y), BOX, &format!("rx=\"6\" {style}"));
    text(out, (x + 9.0, y + 16.0), &format!("font-size=\"12.5\" font-weight=\"600\" fill=\"{name}\""), &family.name);
    text(out, (x + 9.0, y + 31.0), &format!("font-size=\"10\" fill=\"{more}\""), &family.sizes);
    out.push_str("</g>\n");
}

/// From the right of the older one to the left of the younger; of one year, around its right side. Between years that are far from
/// each other it runs above the younger one's row, so that it passes no box.
fn curve(out: &mut String, (x0, y0): (f32, f32), (x1, y1): (f32, f32), colour: &str) {
    let (from, middle, lane) = (x0 + BOX.0, BOX.1 / 2.0, y1 - GAP.1 / 2.0);
    let (y0, y1) = (y0 + middle, y1 + middle);
    let (near, far) = (from + GAP.0, x1 - GAP.0);
    let path = if x0 == x1 {
        let bow = from + GAP.0 * 0.7;
        format!("M{from:.1},{y0:.1} C{bow:.1},{y0:.1} {bow:.1},{y1:.1} {from:.1},{y1:.1}")
    } else if near >= x1 {
        format!("M{from:.1},{y0:.1} C{near:.1},{y0:.1} {from:.1},{y1:.1} {x1:.1},{y1:.1}")
    } else {
        let over = format!("C{near:.1},{y0:.1} {from:.1},{lane:.1} {near:.1},{lane:.1} L{far:.1},{lane:.1}");
        format!("M{from:.1},{y0:.1} {over} C{x1:.1},{lane:.1} {far:.1},{y1:.1} {x1:.1},{y1:.1}")
    };
    let style = "fill=\"none\" stroke-opacity=\"0.5\" stroke-width=\"1.5\"";
    let _ = writeln!(out, "<path d=\"{path}\" stroke=\"{colour}\" {style}/>");
}

/// What filled and dashed boxes mean.
fn key(out: &mut String, y: f32) {
    let mut x = 24.0;
    for (style, told) in [
        ("fill=\"#57606a\" stroke=\"#57606a\"", "runs in Argand"),
        ("fill=\"#ffffff\" stroke=\"#57606a\" stroke-dasharray=\"4 3\"", "does not run, or has no open weights"),
    ] {
        rect(out, (x, y), (26.0, 16.0), &format!("rx=\"4\" {style}"));
        text(out, (x + 34.0, y + 12.0), "font-size=\"12\" fill=\"#57606a\"", told);
        x += 170.0;
    }
}

fn rect(out: &mut String, (x, y): (f32, f32), (w, h): (f32, f32), style: &str) {
    let _ = writeln!(out, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" {style}/>");
}

fn text(out: &mut String, (x, y): (f32, f32), style: &str, line: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{}</text>", escaped(line));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

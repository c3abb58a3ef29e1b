//! What convolutional networks share.

use argand_graph::{Picture, Unary, Walk};

/// What follows a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// Nothing.
    None,
    /// A function of one value.
    Unary(Unary),
    /// `min(max(x, 0), 6)` (Krizhevsky 2010).
    Relu6,
}

impl Act {
    /// The activation of a name in configurations.
    pub fn of(name: &str) -> Option<Act> {
        Some(match name {
            "relu" => Act::Unary(Unary::Relu),
            "relu6" => Act::Relu6,
            "silu" | "swish" => Act::Unary(Unary::Silu),
            "gelu" => Act::Unary(Unary::GeluErf),
            _ => return None,
        })
    }

    /// Does it to each pixel.
    pub fn on(self, x: Picture<'_>) -> Picture<'_> {
        match self {
            Act::None => x,
            Act::Unary(f) => x.map(|x| x.unary(f)),
            Act::Relu6 => x.map(|x| x.clamp(0.0, 6.0)),
        }
    }
}

/// A convolution with a bias, of each channel by itself if there is no number of channels to go out, and what follows it. The name
/// is that of the result; before the activation it is `name.conv`.
pub fn conv<'g>(x: Picture<'g>, name: &str, out: Option<usize>, walk: Walk, act: Act) -> Picture<'g> {
    let x = match out {
        Some(out) => x.conv(name, out, walk, true),
        None => x.depthwise(name, walk, true),
    };
    match act {
        Act::None => x,
        act => act.on(x.named(&format!("{name}.conv"))).named(name),
    }
}

/// Channels inside an inverted bottleneck, and how it walks.
#[derive(Clone, Copy, Debug)]
pub struct Inverted {
    /// Channels between expansion and projection; no expansion if they are those that come in.
    pub inner: Option<usize>,
    /// Channels that go out.
    pub out: usize,
    /// Of the convolution of single channels.
    pub walk: Walk,
    /// Whether the input is added where it has the shape of the output.
    pub residual: bool,
}

/// Expansion, convolution of single channels, projection, and the input again (Sandler et al. 2018): layer `i`.
pub fn inverted<'g>(x: Picture<'g>, layer: usize, block: &Inverted) -> Picture<'g> {
    let name = |part: &str| format!("layers.{layer}.{part}");
    let y = match block.inner {
        Some(inner) => conv(x, &name("expand"), Some(inner), Walk::square(1), Act::Relu6),
        None => x,
    };
    let y = conv(y, &name("depthwise"), None, block.walk, Act::Relu6);
    let y = conv(y, &name("project"), Some(block.out), Walk::square(1), Act::None);
    let again = block.residual && (y.size, y.channels()) == (x.size, x.channels());
    let y = if again { x + y } else { y };
    y.named(&format!("layers.{layer}"))
}

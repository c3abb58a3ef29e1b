//! Reactions as SMILES writes them, and which atom of the product comes from which one before it, told by what a model attends
//! to (Schwaller et al. 2021; the steps are those of rxnmapper 0.4.3). Only as much of SMILES as organic molecules need.

/// Tokens of a reaction: an atom in brackets, an element of two letters, the arrow, or a single character.
pub fn tokens(reaction: &str) -> Vec<&str> {
    let mut rest = reaction;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let whole = ["Br", "Cl", ">>"].into_iter().find(|token| rest.starts_with(token)).map_or(1, str::len);
        let length = if rest.starts_with('[') { rest.find(']').unwrap() + 1 } else { whole };
        let (token, behind) = rest.split_at(length);
        found.push(token);
        rest = behind;
    }
    found
}

/// The element that a token is an atom of.
fn element(token: &str) -> Option<String> {
    let letters = token.trim_start_matches('[');
    let aromatic = letters.chars().next()?.is_ascii_lowercase();
    let length = if letters.starts_with("Br") || letters.starts_with("Cl") { 2 } else { 1 };
    let symbol = letters[..length].to_uppercase();
    (aromatic || letters.starts_with(|c: char| c.is_ascii_uppercase())).then_some(symbol)
}

/// Atoms of one side: the place of each among the tokens, its element, and the atoms that it is bound to.
struct Side {
    places: Vec<usize>,
    elements: Vec<String>,
    bound: Vec<Vec<usize>>,
}

impl Side {
    fn read(tokens: &[&str]) -> Side {
        let mut side = Side { places: Vec::new(), elements: Vec::new(), bound: Vec::new() };
        // The atom before, those at which branches began, and those at which rings are open.
        let (mut last, mut branches, mut rings) = (None, Vec::new(), std::collections::HashMap::new());
        for (place, token) in tokens.iter().enumerate() {
            let atom = side.places.len();
            if let Some(element) = element(token) {
                side.places.push(place);
                side.elements.push(element);
                side.bound.push(Vec::new());
                last.inspect(|before| side.bind(*before, atom));
                last = Some(atom);
                continue;
            }
            match *token {
                "." => last = None,
                "(" => branches.push(last),
                ")" => last = branches.pop().unwrap(),
                "=" | "#" => {}
                ring if ring.parse::<u8>().is_ok() => match rings.remove(ring) {
                    Some(open) => side.bind(open, atom - 1),
                    None => _ = rings.insert(ring, last.unwrap()),
                },
                other => panic!("{other} is not read"),
            }
        }
        side
    }

    fn bind(&mut self, a: usize, b: usize) {
        self.bound[a].push(b);
        self.bound[b].push(a);
    }
}

/// For each atom of the product the one before the reaction that it comes from, and how sure that is, all taken together.
/// `attention(a, b)` is how much token `a` attends to token `b`. The surest atom is mapped first; its neighbours
/// then attend `NEIGHBOUR` times as much to the neighbours of its origin.
pub fn map(reaction: &str, attention: impl Fn(usize, usize) -> f64) -> (Vec<usize>, f64) {
    const NEIGHBOUR: f64 = 90.0;
    let tokens = tokens(reaction);
    let arrow = tokens.iter().position(|token| *token == ">>").unwrap();
    let (before, product) = (Side::read(&tokens[..arrow]), Side::read(&tokens[arrow + 1..]));
    let both_ways = |p: usize, b: usize| {
        let (from, to) = (product.places[p] + arrow + 1, before.places[b]);
        let same = product.elements[p] == before.elements[b];
        if same { attention(from, to) + attention(to, from) } else { 0.0 }
    };
    let row = |p: usize| (0..before.places.len()).map(|b| both_ways(p, b)).collect::<Vec<f64>>();
    let mut scores: Vec<Vec<f64>> = (0..product.places.len()).map(row).collect();
    let (mut origins, mut confidence) = (vec![usize::MAX; scores.len()], 1.0);
    for _ in 0..scores.len() {
        let share = |p: usize, b: usize| scores[p][b] / scores[p].iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let pairs = (0..scores.len()).flat_map(|p| (0..before.places.len()).map(move |b| (p, b)));
        let (p, b) = pairs.max_by(|a, b| share(a.0, a.1).total_cmp(&share(b.0, b.1)).then(b.cmp(a))).unwrap();
        confidence *= share(p, b);
        origins[p] = b;
        for (p, b) in product.bound[p].iter().flat_map(|p| before.bound[b].iter().map(move |b| (*p, *b))) {
            scores[p][b] *= NEIGHBOUR;
        }
        scores[p].fill(0.0);
        scores.iter_mut().for_each(|row| row[b] = 0.0);
    }
    (origins, confidence)
}

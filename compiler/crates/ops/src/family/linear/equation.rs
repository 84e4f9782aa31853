//! Parsing of einsum equations.

use mnnc_ir::OpError;

/// The name of a dimension.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Label {
    /// A letter.
    Letter(char),
    /// A dimension of the ellipsis, counted from the right.
    Rest(usize),
}

/// A parsed equation for operands of given ranks.
#[derive(Clone, PartialEq, Debug)]
pub struct Equation {
    /// Labels of each operand's dimensions.
    pub inputs: Vec<Vec<Label>>,
    /// Labels of the result's dimensions.
    pub output: Vec<Label>,
    /// Labels that are summed over.
    pub summed: Vec<Label>,
}

/// One term: letters before and behind an ellipsis, if it has one.
fn term(text: &str) -> Result<(Vec<char>, Option<Vec<char>>), OpError> {
    let letters = |part: &str| -> Result<Vec<char>, OpError> {
        match part.chars().find(|c| !c.is_ascii_alphabetic()) {
            Some(c) => Err(OpError::invalid(format!("'{c}' stands in the equation; letters and '...' are allowed"))),
            None => Ok(part.chars().collect()),
        }
    };
    match text.split_once("...") {
        Some((head, tail)) => Ok((letters(head)?, Some(letters(tail)?))),
        None => Ok((letters(text)?, None)),
    }
}

impl Equation {
    /// Parses `equation` for operands of these ranks.
    pub fn parse(equation: &str, ranks: &[usize]) -> Result<Equation, OpError> {
        let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((l, r)) => (l.to_string(), Some(r.to_string())),
            None => (text, None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            return Err(OpError::invalid(format!(
                "the equation '{equation}' has {} operands, the node {}",
                terms.len(),
                ranks.len()
            )));
        }
        let mut inputs = Vec::new();
        let mut rest = 0;
        for (i, (t, &rank)) in terms.iter().zip(ranks).enumerate() {
            let (head, tail) = term(t)?;
            let named = head.len() + tail.as_ref().map_or(0, Vec::len);
            if named > rank || (tail.is_none() && named != rank) {
                return Err(OpError::invalid(format!(
                    "operand {i} has rank {rank}, the equation names {named} of its dimensions"
                )));
            }
            let covered = rank - named;
            rest = rest.max(covered);
            let mut labels: Vec<Label> = head.into_iter().map(Label::Letter).collect();
            labels.extend((0..covered).rev().map(Label::Rest));
            labels.extend(tail.into_iter().flatten().map(Label::Letter));
            inputs.push(labels);
        }
        let output = match right {
            Some(r) => explicit_output(&r, rest, &inputs)?,
            None => implicit_output(rest, &inputs),
        };
        let mut summed = Vec::new();
        for l in inputs.iter().flatten() {
            if !output.contains(l) && !summed.contains(l) {
                summed.push(*l);
            }
        }
        Ok(Equation { inputs, output, summed })
    }
}

fn explicit_output(text: &str, rest: usize, inputs: &[Vec<Label>]) -> Result<Vec<Label>, OpError> {
    let (head, tail) = term(text)?;
    let mut out: Vec<Label> = head.into_iter().map(Label::Letter).collect();
    if let Some(tail) = tail {
        out.extend((0..rest).rev().map(Label::Rest));
        out.extend(tail.into_iter().map(Label::Letter));
    }
    for (i, l) in out.iter().enumerate() {
        if out[..i].contains(l) {
            return Err(OpError::invalid(format!("{l:?} stands twice in the result")));
        }
        if !inputs.iter().any(|x| x.contains(l)) {
            return Err(OpError::invalid(format!("{l:?} of the result is in no operand")));
        }
    }
    Ok(out)
}

/// The ellipsis, then every letter that stands once, in alphabetical order.
fn implicit_output(rest: usize, inputs: &[Vec<Label>]) -> Vec<Label> {
    let mut letters: Vec<char> =
        inputs.iter().flatten().filter_map(|l| if let Label::Letter(c) = l { Some(*c) } else { None }).collect();
    letters.sort_unstable();
    let once = |c: &char| letters.iter().filter(|x| *x == c).count() == 1;
    let once: Vec<Label> = letters.iter().filter(|c| once(c)).map(|&c| Label::Letter(c)).collect();
    (0..rest).rev().map(Label::Rest).chain(once).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implicit_and_explicit_results() {
        let e = Equation::parse("ij, jk", &[2, 2]).unwrap();
        assert_eq!(e, Equation::parse("ij,jk->ik", &[2, 2]).unwrap());
        assert_eq!(e.summed, [Label::Letter('j')]);
        let e = Equation::parse("...ij,...jk->...ik", &[4, 3]).unwrap();
        assert_eq!(e.output.len(), 4);
        assert_eq!(e.inputs[1][0], Label::Rest(0));
        assert_eq!(Equation::parse("ii", &[2]).unwrap().output, []);
    }

    #[test]
    fn wrong_equations_are_refused() {
        for bad in ["i-j->i", "ij->ijk", "ij->ii", "ij,jk->ik", "ijk->i", "..ij->i", ""] {
            assert!(Equation::parse(bad, &[2]).is_err(), "{bad}");
        }
    }
}

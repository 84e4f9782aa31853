//! One step of a recurrent cell, in `f64`.

use super::activation::Activation;

/// The kind of cell.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One gate.
    Rnn,
    /// Update, reset, hidden.
    Gru,
    /// Input, output, forget, cell.
    Lstm,
}

impl Kind {
    /// Number of gates.
    pub fn gates(self) -> usize {
        match self {
            Kind::Rnn => 1,
            Kind::Gru => 3,
            Kind::Lstm => 4,
        }
    }
    /// The usual activations.
    pub fn activations(self) -> &'static [Activation] {
        match self {
            Kind::Rnn => &[Activation::Tanh],
            Kind::Gru => &[Activation::Sigmoid, Activation::Tanh],
            Kind::Lstm => &[Activation::Sigmoid, Activation::Tanh, Activation::Tanh],
        }
    }
}

/// Parameters of one direction.
pub struct Weights {
    /// `[gates * hidden][input]`.
    pub w: Vec<f64>,
    /// `[gates * hidden][hidden]`.
    pub r: Vec<f64>,
    /// Input biases, then recurrent ones, `gates * hidden` each.
    pub bias: Vec<f64>,
    /// Peepholes: input, output, forget.
    pub peephole: Vec<f64>,
}

/// A cell of one direction.
pub struct Cell {
    /// Kind.
    pub kind: Kind,
    /// Number of hidden units.
    pub hidden: usize,
    /// Activations.
    pub functions: Vec<Activation>,
    /// Bound of what goes into an activation.
    pub clip: f64,
    /// See the op.
    pub linear_before_reset: bool,
    /// See the op.
    pub input_forget: bool,
    /// Parameters.
    pub weights: Weights,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

impl Cell {
    /// What comes from the input for unit `u` of gate `g`, bias included.
    fn of_input(&self, x: &[f64], g: usize, u: usize) -> f64 {
        let row = g * self.hidden + u;
        dot(&self.weights.w[row * x.len()..][..x.len()], x) + self.weights.bias[row]
    }
    /// What comes from the state for unit `u` of gate `g`, bias included.
    fn of_state(&self, h: &[f64], g: usize, u: usize) -> f64 {
        let row = g * self.hidden + u;
        let bias = self.weights.bias[self.kind.gates() * self.hidden + row];
        dot(&self.weights.r[row * self.hidden..][..self.hidden], h) + bias
    }
    fn activate(&self, f: usize, x: f64) -> f64 {
        self.functions[f].apply(x.clamp(-self.clip, self.clip))
    }
    /// Replaces the state `h`, and for LSTM the cell state `c`, by those after input `x`.
    pub fn step(&self, x: &[f64], h: &mut [f64], c: &mut [f64]) {
        match self.kind {
            Kind::Rnn => {
                let gate = |u| self.activate(0, self.of_input(x, 0, u) + self.of_state(h, 0, u));
                let next: Vec<f64> = (0..self.hidden).map(gate).collect();
                h.copy_from_slice(&next);
            }
            Kind::Gru => self.gru(x, h),
            Kind::Lstm => self.lstm(x, h, c),
        }
    }
    fn gru(&self, x: &[f64], h: &mut [f64]) {
        let gate = |g: usize, u: usize| self.activate(0, self.of_input(x, g, u) + self.of_state(h, g, u));
        let update: Vec<f64> = (0..self.hidden).map(|u| gate(0, u)).collect();
        let reset: Vec<f64> = (0..self.hidden).map(|u| gate(1, u)).collect();
        let scaled: Vec<f64> = h.iter().zip(&reset).map(|(h, r)| h * r).collect();
        let candidate = |u: usize| {
            let state =
                if self.linear_before_reset { reset[u] * self.of_state(h, 2, u) } else { self.of_state(&scaled, 2, u) };
            self.activate(1, self.of_input(x, 2, u) + state)
        };
        let next: Vec<f64> = (0..self.hidden).map(|u| (1.0 - update[u]) * candidate(u) + update[u] * h[u]).collect();
        h.copy_from_slice(&next);
    }
    fn lstm(&self, x: &[f64], h: &mut [f64], c: &mut [f64]) {
        let sum = |g: usize, u: usize| self.of_input(x, g, u) + self.of_state(h, g, u);
        let peep = |p: usize, u: usize| self.weights.peephole[p * self.hidden + u];
        let mut next = vec![0.0; self.hidden];
        for u in 0..self.hidden {
            let input = self.activate(0, sum(0, u) + peep(0, u) * c[u]);
            let forget = match self.input_forget {
                true => 1.0 - input,
                false => self.activate(0, sum(2, u) + peep(2, u) * c[u]),
            };
            c[u] = forget * c[u] + input * self.activate(1, sum(3, u));
            let output = self.activate(0, sum(1, u) + peep(1, u) * c[u]);
            next[u] = output * self.functions[2].apply(c[u]);
        }
        h.copy_from_slice(&next);
    }
}

//! Steps that the lowering adds itself: copies from one form to another, and the model's interface.

use super::forms::{Form, Home};
use super::{Lowering, Placed, forms};
use crate::families::conv::compiled;
use crate::families::copy;
use crate::families::copy::convert::Convert;
use crate::families::copy::pixels::Pixels;
use crate::families::copy::planes::Planes;
use crate::schedule::{Access, Buffer, BufferKind, KernelId, LoopKernel, Operand, Step, Subnormals};
use crate::storage::{Halo, Storage};
use crate::{Wish, generic};
use mnnc_ir::compute::Stage;
use mnnc_ir::scalar::{Cmp, ScalarBuilder, Source};
use mnnc_ir::{DType, OpError, ValueId};

impl Lowering<'_> {
    /// Gives the model's inputs their buffers.
    pub(super) fn bind_interface(&mut self) {
        for (i, &v) in self.graph.inputs().iter().enumerate() {
            let value = self.graph.value(v);
            let bytes = value.ty.num_bytes().unwrap_or(0);
            let buffer = Buffer { name: value.name.clone(), bytes, kind: BufferKind::Input(i) };
            let buffer = self.schedule.buffers.push(buffer);
            self.schedule.inputs.push(buffer);
            if let Ok(storage) = self.storage(v, Form::Plain) {
                self.placed.entry(v).or_default().push(Placed { buffer, storage });
            }
        }
        for (i, &v) in self.graph.outputs().iter().enumerate() {
            let value = self.graph.value(v);
            let bytes = value.ty.num_bytes().unwrap_or(0);
            let buffer = Buffer { name: value.name.clone(), bytes, kind: BufferKind::Output(i) };
            let buffer = self.schedule.buffers.push(buffer);
            self.schedule.outputs.push(buffer);
        }
    }

    /// Copies results of the model that are not in the caller's buffers yet: inputs and constants passed through, values
    /// returned twice.
    pub(super) fn finish_outputs(&mut self) -> Result<(), OpError> {
        self.node = None;
        for (i, &v) in self.graph.outputs().iter().enumerate() {
            let buffer = self.schedule.outputs[i];
            let there = |p: &Placed| self.root(p.buffer) == (buffer, 0) && p.storage.is_plain();
            if self.placed.get(&v).is_some_and(|forms| forms.iter().any(there)) {
                continue;
            }
            let to = Placed { buffer, storage: self.storage(v, Form::Plain)? };
            let from = self.input(v, Wish::Any)?;
            self.copy(v, &from, &to);
        }
        Ok(())
    }

    /// Outermost buffer and the offset in it.
    pub(super) fn root(&self, b: crate::BufferId) -> (crate::BufferId, usize) {
        self.schedule.outermost(b)
    }

    pub(super) fn same_place(&self, a: &Placed, b: &Placed) -> bool {
        self.root(a.buffer) == self.root(b.buffer) && a.storage == b.storage
    }

    /// Adds the step that copies a value from one form to another. What fills up the last block is
    /// unspecified.
    pub(crate) fn copy(&mut self, v: ValueId, from: &Placed, to: &Placed) {
        let copied = if copy::convert::converts(&from.storage, &to.storage) {
            self.convert(v, from, to)
        } else {
            self.copy_bytes(v, from, to).or_else(|| self.copy_by_vectors(v, from, to))
        };
        if copied.is_none() {
            self.copy_by_elements(v, from, to);
        }
    }

    /// Copies from `f32` to bf16 or back, by way of blocks of `f32` where no kernel does both.
    fn convert(&mut self, v: ValueId, from: &Placed, to: &Placed) -> Option<()> {
        let Some(convert) = Convert::new(&from.storage, &to.storage, self.target) else {
            let (blocks, dims) = (self.target.lanes(), &to.storage.dims);
            let between = Storage::blocked(DType::F32, dims, blocks, Halo::default())?;
            let steps = [(&from.storage, &between), (&between, &to.storage)];
            let possible = |(a, b): (&Storage, &Storage)| {
                !copy::convert::converts(a, b) || Convert::new(a, b, self.target).is_some()
            };
            let there = |s: &Storage| s.block == between.block && s.dtype == between.dtype;
            if there(&from.storage) || there(&to.storage) || !steps.into_iter().all(possible) {
                return None;
            }
            let between = self.temp_in_storage(v, between);
            self.copy(v, from, &between);
            self.copy(v, &between, to);
            return Some(());
        };
        let kernel = self.cached_kernel(convert.name(self.target), |t| convert.compile(t)).ok()?;
        let name = format!("{}.convert", self.graph.value(v).name);
        let operands = vec![elements(from, Access::Read), elements(to, Access::Write)];
        self.moving_step(name, kernel, operands, convert.units());
        Some(())
    }

    /// Copies planes of bytes to pixels of four, or blocks of bytes to planes.
    fn copy_bytes(&mut self, v: ValueId, from: &Placed, to: &Placed) -> Option<()> {
        let (kernel, units) = if let Some(copy) = Pixels::new(&from.storage, &to.storage) {
            (self.cached_kernel(copy.name(self.target), |t| compiled(copy.compile(t))).ok()?, copy.units())
        } else {
            let copy = Planes::new(&from.storage, &to.storage)?;
            (self.cached_kernel(copy.name(self.target), |t| compiled(copy.compile(t))).ok()?, copy.units())
        };
        let name = format!("{}.repack", self.graph.value(v).name);
        self.moving_step(name, kernel, vec![elements(from, Access::Read), elements(to, Access::Write)], units);
        Some(())
    }

    /// Copies with the tuned kernels, where they can.
    fn copy_by_vectors(&mut self, v: ValueId, from: &Placed, to: &Placed) -> Option<()> {
        if !copy::is_copied(to.storage.dtype) {
            return None;
        }
        let dims = to.storage.dims.clone();
        let same: Vec<usize> = (0..dims.len()).collect();
        let element = to.storage.dtype.size();
        let parts = copy::parts(copy::loops::pieces(&dims, &from.storage, &same, &to.storage)?, element)?;
        let (node, name) = (self.node.take(), format!("{}.repack", self.graph.value(v).name));
        let subnormals = std::mem::replace(&mut self.subnormals, Subnormals::Any);
        let name = std::mem::replace(&mut self.name, name);
        let done = self.copy_parts(from, to, parts);
        (self.node, self.name, self.subnormals) = (node, name, subnormals);
        done.ok()
    }

    /// Steps that carry out a copy in parts.
    ///
    /// # Errors
    /// If a kernel does not compile.
    pub(crate) fn copy_parts(&mut self, from: &Placed, to: &Placed, parts: Vec<copy::Part>) -> Result<(), OpError> {
        for part in parts {
            let operand = |p: &Placed, (start, bytes): (usize, usize), access| Operand {
                buffer: p.buffer,
                offset: start,
                bytes,
                access,
            };
            let name = part.name(self.target);
            let kernel = self.cached_kernel(name, |t| {
                part.compile(t).map_err(|e| OpError::unsupported(format!("kernel generation failed: {e}")))
            })?;
            // What fills up the last block belongs to the value, whatever it holds.
            let pixel = to.storage.block.map_or(1, |b| b * to.storage.dtype.size());
            let (start, bytes) = part.dst;
            let end = (start + bytes).next_multiple_of(pixel).min(to.storage.bytes);
            let written = operand(to, (start, end - start), Access::Write);
            let operands = vec![operand(from, part.src, Access::Read), written];
            self.step(kernel, operands, part.plan.units(), 0);
        }
        Ok(())
    }

    fn copy_by_elements(&mut self, v: ValueId, from: &Placed, to: &Placed) {
        let mut dims = to.storage.dims.clone();
        let padded = to.storage.block.map(|b| dims[1].next_multiple_of(b)).filter(|&c| c != dims[1]);
        let dtype = to.storage.dtype;
        let mut b = ScalarBuilder::new();
        let index: Vec<_> = (0..dims.len()).map(|i| b.axis(i)).collect();
        let body = match padded {
            None => b.load(Source::Input(0), index, dtype),
            Some(c) => {
                let real = b.int(dims[1] as i64);
                let inside = b.compare(Cmp::Lt, index[1], real);
                let zero = b.constant(0.0, dtype);
                dims[1] = c;
                b.load_or(Source::Input(0), index, inside, zero)
            }
        };
        let stage = Stage { dims, dtype, reduce: None, body: b.finish(body) };
        let unit_dims = generic::unit_dims(&stage.dims);
        let units = stage.dims[..unit_dims].iter().product::<usize>();
        if stage.dims.contains(&0) {
            return;
        }
        let k = LoopKernel { stage, inputs: vec![from.storage.clone()], output: to.storage.clone(), unit_dims };
        let kernel = self.loop_kernel("repack", k);
        let name = format!("{}.repack", self.graph.value(v).name);
        self.moving_step(name, kernel, vec![from.read(), to.write()], units);
    }

    /// Adds a step of no node, which computes nothing.
    pub(super) fn moving_step(&mut self, name: String, kernel: KernelId, operands: Vec<Operand>, units: usize) {
        let subnormals = Subnormals::Any;
        self.schedule.steps.push(Step { name, node: None, kernel, operands, units, flops: 0, subnormals, part: None });
    }

    /// The place of a value that lies in another one or in the caller's buffer.
    pub(super) fn place_at_home(&mut self, v: ValueId, home: &Home) -> Result<Placed, OpError> {
        if let Some(p) = self.homes.get(&v) {
            return Ok(p.clone());
        }
        let place = match *home {
            Home::Output(i) => {
                Placed { buffer: self.schedule.outputs[i], storage: self.storage(v, self.plan.form(v))? }
            }
            Home::Within(parent, offset) => {
                let whole = self.place_whole(parent)?;
                self.part_of(&whole, v, offset)?
            }
        };
        self.homes.insert(v, place.clone());
        Ok(place)
    }

    /// The place of a value that is written part by part.
    pub(super) fn place_whole(&mut self, v: ValueId) -> Result<Placed, OpError> {
        if let Some(p) = self.homes.get(&v) {
            return Ok(p.clone());
        }
        let place = match self.plan.home(v).cloned() {
            Some(home) => self.place_at_home(v, &home)?,
            None => self.temp_in_form(v, self.plan.form(v))?,
        };
        self.homes.insert(v, place.clone());
        Ok(place)
    }

    /// A concatenation whose parts are written in place: copies those that could not be, and shows the whole.
    pub(super) fn finish_concat(&mut self, n: mnnc_ir::NodeId) -> Result<(), OpError> {
        let y = self.graph.node(n).outputs()[0];
        let whole = self.place_whole(y)?;
        for (x, offset, placed) in self.plan.parts(n).to_vec() {
            if placed {
                continue;
            }
            let from = self.input(x, Wish::Any)?;
            let to = self.part_of(&whole, x, offset)?;
            self.copy(x, &from, &to);
        }
        self.placed.entry(y).or_default().push(whole);
        Ok(())
    }

    /// The place of a value within another one, from this byte of its buffer on.
    fn part_of(&mut self, whole: &Placed, v: ValueId, offset: usize) -> Result<Placed, OpError> {
        let dims = self.graph.ty(v).static_dims().ok_or_else(|| OpError::unsupported("a shape is dynamic"))?;
        let storage = forms::part_storage(&whole.storage, &dims, offset).ok_or_else(forms::too_large)?;
        let name = self.graph.value(v).name.clone();
        let kind = BufferKind::Within(whole.buffer, offset);
        let buffer = self.schedule.buffers.push(Buffer { name, bytes: storage.bytes, kind });
        Ok(Placed { buffer, storage })
    }

    /// Results of a split or slice that are contiguous parts of the input as it lies.
    pub(super) fn parts_in_place(&mut self, n: mnnc_ir::NodeId) -> Option<Vec<(ValueId, Placed)>> {
        let (x, cuts) = forms::cuts(self.graph, n)?;
        let outputs = self.graph.node(n).outputs().to_vec();
        if outputs.iter().any(|&y| self.plan.home(y).is_some()) {
            return None;
        }
        let fits = |p: &&Placed| cuts.iter().all(|c| forms::offset_of(&p.storage, c).is_some());
        let from = self.placed.get(&x)?.iter().find(fits)?.clone();
        let mut out = Vec::new();
        for (y, cut) in outputs.into_iter().zip(&cuts) {
            let offset = forms::offset_of(&from.storage, cut)?;
            out.push((y, self.part_of(&from, y, offset).ok()?));
        }
        Some(out)
    }
}

/// A place from its first element on.
fn elements(p: &Placed, access: Access) -> Operand {
    let start = p.storage.offset;
    Operand { buffer: p.buffer, offset: start, bytes: p.storage.bytes - start, access }
}

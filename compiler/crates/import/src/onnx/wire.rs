//! A walk over the undecoded protobuf bytes: finds truncation and how much memory decoding would take.
//!
//! Two bytes of a file can stand for a message of a kilobyte in memory, so the cost is bounded before anything is
//! decoded. The walk also says where a damaged file breaks, which the decoder does not.

use mnnc_schema::onnx as pb;
use std::mem::size_of;

/// As deep as the decoder goes.
const MAX_DEPTH: usize = 100;

/// What a length-delimited field holds.
enum Field {
    /// A message.
    Message(&'static Message),
    /// Text: copied into memory.
    Text,
    /// Bytes: a view of the file.
    View,
    /// Packed numbers of so many bytes each in memory.
    Varints(usize),
    /// Packed numbers that take the same space in memory.
    Fixed,
}

/// A message type: its size in memory and its length-delimited fields.
struct Message {
    name: &'static str,
    size: usize,
    fields: &'static [(u64, Field)],
}

use Field::{Fixed, Message as Sub, Text, Varints, View};

macro_rules! message {
    ($id:ident, $t:ty, [$($n:literal => $f:expr),* $(,)?]) => {
        static $id: Message = Message { name: stringify!($id), size: size_of::<$t>(), fields: &[$(($n, $f)),*] };
    };
}

message!(MODEL, pb::ModelProto, [2 => Text, 3 => Text, 4 => Text, 6 => Text, 7 => Sub(&GRAPH), 8 => Sub(&OPSET),
    14 => Sub(&PAIR), 20 => Sub(&TRAINING), 25 => Sub(&FUNCTION), 26 => Sub(&OTHER)]);
message!(OPSET, pb::OperatorSetIdProto, [1 => Text]);
message!(PAIR, pb::StringStringEntryProto, [1 => Text, 2 => Text]);
message!(GRAPH, pb::GraphProto, [1 => Sub(&NODE), 2 => Text, 5 => Sub(&TENSOR), 10 => Text, 11 => Sub(&VALUE_INFO),
    12 => Sub(&VALUE_INFO), 13 => Sub(&VALUE_INFO), 14 => Sub(&ANNOTATION), 15 => Sub(&SPARSE_TENSOR), 16 => Sub(&PAIR)]);
message!(NODE, pb::NodeProto, [1 => Text, 2 => Text, 3 => Text, 4 => Text, 5 => Sub(&ATTRIBUTE), 6 => Text, 7 => Text,
    8 => Text, 9 => Sub(&PAIR), 10 => Sub(&OTHER)]);
message!(ATTRIBUTE, pb::AttributeProto, [1 => Text, 4 => View, 5 => Sub(&TENSOR), 6 => Sub(&GRAPH), 7 => Fixed,
    8 => Varints(8), 9 => View, 10 => Sub(&TENSOR), 11 => Sub(&GRAPH), 13 => Text, 14 => Sub(&TYPE), 15 => Sub(&TYPE),
    21 => Text, 22 => Sub(&SPARSE_TENSOR), 23 => Sub(&SPARSE_TENSOR)]);
message!(TENSOR, pb::TensorProto, [1 => Varints(8), 3 => Sub(&OTHER), 4 => Fixed, 5 => Varints(4), 6 => View,
    7 => Varints(8), 8 => Text, 9 => View, 10 => Fixed, 11 => Varints(8), 12 => Text, 13 => Sub(&PAIR),
    16 => Sub(&PAIR)]);
message!(SPARSE_TENSOR, pb::SparseTensorProto, [1 => Sub(&TENSOR), 2 => Sub(&TENSOR), 3 => Varints(8)]);
message!(ANNOTATION, pb::TensorAnnotation, [1 => Text, 2 => Sub(&PAIR)]);
message!(VALUE_INFO, pb::ValueInfoProto, [1 => Text, 2 => Sub(&TYPE), 3 => Text, 4 => Sub(&PAIR)]);
message!(TYPE, pb::TypeProto, [1 => Sub(&TENSOR_TYPE), 4 => Sub(&NESTED_TYPE), 5 => Sub(&NESTED_TYPE), 6 => Text,
    7 => Sub(&PAIR), 8 => Sub(&TENSOR_TYPE), 9 => Sub(&NESTED_TYPE)]);
message!(TENSOR_TYPE, pb::type_proto::Tensor, [2 => Sub(&SHAPE)]);
message!(NESTED_TYPE, pb::TypeProto, [1 => Sub(&TYPE), 2 => Sub(&TYPE)]);
message!(SHAPE, pb::TensorShapeProto, [1 => Sub(&DIMENSION)]);
message!(DIMENSION, pb::tensor_shape_proto::Dimension, [2 => Text, 3 => Text]);
message!(FUNCTION, pb::FunctionProto, [1 => Text, 4 => Text, 5 => Text, 6 => Text, 7 => Sub(&NODE), 8 => Text,
    9 => Sub(&OPSET), 10 => Text, 11 => Sub(&ATTRIBUTE), 12 => Sub(&VALUE_INFO), 13 => Text, 14 => Sub(&PAIR)]);
message!(TRAINING, pb::TrainingInfoProto, [1 => Sub(&GRAPH), 2 => Sub(&GRAPH), 3 => Sub(&PAIR), 4 => Sub(&PAIR)]);
// Device placement. Its messages nest in each other in a few levels; one type that nests in itself bounds them all.
message!(OTHER, pb::ShardingSpecProto, [1 => Sub(&OTHER), 2 => Sub(&OTHER), 3 => Sub(&OTHER), 4 => Sub(&OTHER)]);

/// Why the bytes are not a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The file ends before a field does. Where the field starts, the message it is in, how many bytes lack.
    Truncated { at: usize, message: &'static str, lack: u64 },
    /// A key or number that protobuf does not have.
    Malformed { at: usize, message: &'static str },
    /// Messages nested too deeply.
    Deep { at: usize },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Truncated { at, message, lack } => write!(
                f,
                "the file is truncated or damaged: a field of {} at byte {at} needs {lack} more byte(s) than there are",
                message.to_lowercase()
            ),
            Fault::Malformed { at, message } => {
                write!(f, "the file is damaged: no valid field of {} at byte {at}", message.to_lowercase())
            }
            Fault::Deep { at } => write!(f, "messages are nested more than {MAX_DEPTH} deep at byte {at}"),
        }
    }
}

/// Bytes that decoding `bytes` as a model takes, an upper bound of what the allocator is asked for.
pub(crate) fn decoded_size(bytes: &[u8]) -> Result<u64, Fault> {
    let mut cost = 0;
    walk(bytes, 0, bytes.len(), &MODEL, 0, &mut cost)?;
    Ok(cost)
}

/// Reads a varint at `*at`, not past `end`.
fn varint(bytes: &[u8], at: &mut usize, end: usize) -> Option<u64> {
    let mut x = 0u64;
    for i in 0..10 {
        let b = *bytes.get(*at).filter(|_| *at < end)?;
        *at += 1;
        x |= u64::from(b & 0x7f) << (7 * i);
        if b < 0x80 {
            return Some(x);
        }
    }
    None
}

fn walk(
    bytes: &[u8],
    start: usize,
    end: usize,
    m: &'static Message,
    depth: usize,
    cost: &mut u64,
) -> Result<(), Fault> {
    // Vectors grow by doubling, the old copy being alive while the new one is filled.
    *cost = cost.saturating_add(3 * m.size as u64);
    if depth > MAX_DEPTH {
        return Err(Fault::Deep { at: start });
    }
    let mut at = start;
    while at < end {
        let field_at = at;
        let broken = |lack: u64| {
            if lack > 0 && end == bytes.len() {
                Fault::Truncated { at: field_at, message: m.name, lack }
            } else {
                Fault::Malformed { at: field_at, message: m.name }
            }
        };
        let number = |at: &mut usize| {
            let from = *at;
            varint(bytes, at, end).ok_or_else(|| broken(u64::from(*at - from < 10)))
        };
        let key = number(&mut at)?;
        let field = key >> 3;
        if field == 0 {
            return Err(broken(0));
        }
        let fixed = match key & 7 {
            0 => {
                number(&mut at)?;
                *cost = cost.saturating_add(8);
                continue;
            }
            1 => 8,
            5 => 4,
            2 => number(&mut at)?,
            _ => return Err(broken(0)),
        };
        let left = (end - at) as u64;
        if fixed > left {
            return Err(broken(fixed - left));
        }
        let stop = at + fixed as usize;
        let kind = m.fields.iter().find(|(n, _)| *n == field).map(|(_, f)| f);
        if key & 7 != 2 {
            *cost = cost.saturating_add(16);
        } else {
            match kind {
                Some(Sub(sub)) => walk(bytes, at, stop, sub, depth + 1, cost)?,
                Some(Text) => *cost = cost.saturating_add(48 + fixed),
                Some(View) => *cost = cost.saturating_add(64),
                Some(Fixed) => *cost = cost.saturating_add(fixed.saturating_mul(3)),
                Some(Varints(n)) => {
                    let count = bytes[at..stop].iter().filter(|&&b| b < 0x80).count() as u64;
                    *cost = cost.saturating_add(count.saturating_mul(3 * *n as u64));
                }
                None => {}
            }
        }
        at = stop;
    }
    Ok(())
}

/// Whether the first two fields could be those of a model. A damaged file still looks like one.
pub(crate) fn looks_like_model(bytes: &[u8]) -> bool {
    let mut at = 0;
    for i in 0..2 {
        if at == bytes.len() && i > 0 {
            return true;
        }
        let Some(key) = varint(bytes, &mut at, bytes.len()) else { return i > 0 };
        let field = key >> 3;
        match key & 7 {
            0 if matches!(field, 1 | 5) => match varint(bytes, &mut at, bytes.len()) {
                // No version of the container format has reached 100.
                Some(v) if field == 5 || v < 100 => {}
                Some(_) => return false,
                None => return i > 0,
            },
            2 if MODEL.fields.iter().any(|(n, _)| *n == field) => {
                let Some(len) = varint(bytes, &mut at, bytes.len()) else { return i > 0 };
                if len > (bytes.len() - at) as u64 {
                    return true;
                }
                at += len as usize;
            }
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_located() {
        // ir_version 8, then a graph of 5 bytes of which 2 are there.
        let cut = [8, 8, 0x3a, 5, 0x12, 1];
        assert_eq!(decoded_size(&cut), Err(Fault::Truncated { at: 2, message: "MODEL", lack: 3 }));
        // A node whose name is longer than the node.
        let inner = [0x3a, 4, 0x0a, 2, 0x1a, 9];
        assert!(matches!(decoded_size(&inner), Err(Fault::Truncated { message: "NODE", .. })));
        let inner = [0x3a, 4, 0x0a, 2, 0x1a, 9, 8, 8];
        assert_eq!(decoded_size(&inner), Err(Fault::Malformed { at: 4, message: "NODE" }));
        assert!(matches!(decoded_size(&[0x80; 12]), Err(Fault::Malformed { at: 0, .. })));
    }

    #[test]
    fn small_files_can_cost_much_and_are_measured() {
        // A graph of a thousand empty initializers: two bytes each.
        let mut bytes = vec![0x3a, 0xd0, 0x0f];
        bytes.extend([0x2a, 0].repeat(1000));
        let cost = decoded_size(&bytes).unwrap();
        assert!(cost >= 1000 * size_of::<pb::TensorProto>() as u64, "{cost}");
    }

    #[test]
    fn nesting_is_bounded() {
        // Types of types of types.
        let mut bytes: Vec<u8> = Vec::new();
        for _ in 0..300 {
            let mut outer = vec![0x22];
            let mut n = bytes.len();
            while n >= 0x80 {
                outer.push(n as u8 | 0x80);
                n >>= 7;
            }
            outer.push(n as u8);
            outer.extend(&bytes);
            let mut elem = vec![0x0a];
            let mut n = outer.len();
            while n >= 0x80 {
                elem.push(n as u8 | 0x80);
                n >>= 7;
            }
            elem.push(n as u8);
            elem.extend(outer);
            bytes = elem;
        }
        let mut at = 0;
        assert!(varint(&bytes, &mut at, bytes.len()).is_some());
        let mut cost = 0;
        assert!(matches!(walk(&bytes, 0, bytes.len(), &NESTED_TYPE, 0, &mut cost), Err(Fault::Deep { .. })));
    }
}

//! Declarations to Rust that writes a view as JSON, as MNN's own dumps have it: fields under the schema's names in its order, enum values by
//! name, `FIELD_type` beside a union. Scalars stand there even at their default.

use super::emit::{Kind, Slot, ident, snake_case};
use super::parse::{Enum, Table};
use std::fmt::Write;

/// What all of them use.
pub fn emit_head(out: &mut String) {
    out.push_str(
        "\nstruct Items<'a, T>(Vector<'a, T>);\n\n\
         impl<'a, T: Follow<'a> + 'a> serde::Serialize for Items<'a, T>\nwhere\n    T::Inner: serde::Serialize,\n{\n    \
         fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {\n        to.collect_seq(self.0.iter())\n    }\n}\n",
    );
}

/// A value by its name, or as a number where it has none.
pub fn emit_enum(out: &mut String, item: &Enum) {
    let _ = write!(
        out,
        "\nimpl serde::Serialize for {} {{\n    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {{\n        \
         match self.variant_name() {{\n            Some(name) => to.serialize_str(name),\n            \
         None => to.serialize_i64(i64::from(self.0)),\n        }}\n    }}\n}}\n",
        item.name
    );
}

/// A table as an object.
pub fn emit_table(out: &mut String, table: &Table, slots: &[Slot]) {
    let _ = write!(
        out,
        "\nimpl serde::Serialize for {}<'_> {{\n    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {{\n        \
         use serde::ser::SerializeMap;\n        #[allow(unused_mut)]\n        let mut map = to.serialize_map(None)?;\n",
        table.name
    );
    for slot in slots {
        let field = &slot.field.name;
        let get = format!("self.{}()", ident(&slot.name));
        let line = match (&slot.kind, slot.field.is_vector) {
            (Kind::Union(item), _) => {
                let tag = format!("self.{}_tag()", slot.name);
                let mut line = format!(
                    "map.serialize_entry(\"{field}_type\", &{}_name({tag}).unwrap_or(\"?\"))?;",
                    snake_case(&item.name)
                );
                for member in &item.members {
                    let _ = write!(
                        line,
                        "\n        if let Some(value) = self.{}_as_{}() {{\n            map.serialize_entry({field:?}, &value)?;\n        }}",
                        slot.name,
                        snake_case(member)
                    );
                }
                line
            }
            (Kind::Enum(item), true) => format!(
                "if let Some(list) = {get} {{\n            let list: Vec<{0}> = list.iter().map({0}).collect();\n            \
                 map.serialize_entry({field:?}, &list)?;\n        }}",
                item.name
            ),
            (_, true) => format!(
                "if let Some(list) = {get} {{\n            map.serialize_entry({field:?}, &Items(list))?;\n        }}"
            ),
            (Kind::String | Kind::Table(_), false) => {
                format!(
                    "if let Some(value) = {get} {{\n            map.serialize_entry({field:?}, &value)?;\n        }}"
                )
            }
            _ => format!("map.serialize_entry({field:?}, &{get})?;"),
        };
        let _ = writeln!(out, "        {line}");
    }
    let _ = writeln!(out, "        map.end()\n    }}\n}}");
}

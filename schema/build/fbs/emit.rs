//! Declarations to Rust: for each enum an open newtype, for each table a
//! verified view (`Net<'a>`) and an owned form (`NetT`) that packs itself.

use super::json;
use super::parse::{Enum, Field, Schema, Table, Union};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a field holds, as far as its code differs.
pub(super) enum Kind<'a> {
    Scalar(&'static str),
    Enum(&'a Enum),
    String,
    Table(&'a str),
    Union(&'a Union),
}

/// A field with its resolved type, vtable slot and default.
pub(super) struct Slot<'a> {
    pub(super) field: &'a Field,
    pub(super) name: String,
    /// The constant with the field's vtable offset.
    vt: String,
    id: usize,
    pub(super) kind: Kind<'a>,
}

/// Rust source for a whole schema.
pub fn emit(schema: &Schema) -> Result<String, String> {
    let mut out = String::from(
        "use flatbuffers::{FlatBufferBuilder, Follow, ForwardsUOffset, InvalidFlatbuffer, Table, \
         UnionWIPOffset, Vector, Verifiable, Verifier, WIPOffset};\n",
    );
    json::emit_head(&mut out);
    for item in &schema.enums {
        emit_enum(&mut out, item)?;
        json::emit_enum(&mut out, item);
    }
    for item in &schema.unions {
        emit_union(&mut out, item);
    }
    for table in &schema.tables {
        let slots = resolve(schema, table)?;
        emit_view(&mut out, table, &slots);
        emit_verify(&mut out, table, &slots);
        emit_owned(&mut out, table, &slots)?;
        emit_pack(&mut out, table, &slots);
        json::emit_table(&mut out, table, &slots);
    }
    if !schema.tables.iter().any(|table| table.name == schema.root) {
        return Err(format!("root_type {} is not declared", schema.root));
    }
    Ok(out)
}

fn rust_scalar(ty: &str) -> Option<&'static str> {
    Some(match ty {
        "bool" => "bool",
        "byte" => "i8",
        "ubyte" => "u8",
        "short" => "i16",
        "ushort" => "u16",
        "int" => "i32",
        "uint" => "u32",
        "long" => "i64",
        "ulong" => "u64",
        "float" => "f32",
        "double" => "f64",
        _ => return None,
    })
}

fn size_of(kind: &Kind) -> usize {
    match kind {
        Kind::Scalar("bool" | "i8" | "u8") => 1,
        Kind::Scalar("i16" | "u16") => 2,
        Kind::Scalar("i64" | "u64" | "f64") => 8,
        Kind::Enum(item) if item.repr == "byte" => 1,
        _ => 4,
    }
}

fn resolve<'a>(schema: &'a Schema, table: &'a Table) -> Result<Vec<Slot<'a>>, String> {
    let mut slots = Vec::new();
    let mut id = 0;
    for field in &table.fields {
        let kind = if let Some(scalar) = rust_scalar(&field.ty) {
            Kind::Scalar(scalar)
        } else if field.ty == "string" {
            Kind::String
        } else if let Some(item) = schema.enums.iter().find(|item| item.name == field.ty) {
            Kind::Enum(item)
        } else if let Some(item) = schema.unions.iter().find(|item| item.name == field.ty) {
            id += 1; // The tag takes a slot of its own, before the value's.
            Kind::Union(item)
        } else if schema.tables.iter().any(|item| item.name == field.ty) {
            Kind::Table(&field.ty)
        } else {
            return Err(format!("{}.{}: unknown type {}", table.name, field.name, field.ty));
        };
        let name = snake_case(&field.name);
        slots.push(Slot { field, vt: format!("VT_{}", name.to_uppercase()), name, id, kind });
        id += 1;
    }
    Ok(slots)
}

pub(super) fn snake_case(name: &str) -> String {
    let mut out = String::new();
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_lower {
            out.push('_');
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A name that may stand as a Rust identifier.
pub(super) fn ident(name: &str) -> String {
    if matches!(name, "type" | "move" | "loop" | "box") { format!("{name}_") } else { name.to_string() }
}

fn doc(out: &mut String, indent: &str, lines: &[String], otherwise: &str) {
    if lines.is_empty() {
        let _ = writeln!(out, "{indent}/// {otherwise}");
    }
    for line in lines {
        let _ = writeln!(out, "{indent}/// {}", line.replace('[', "\\[").replace(']', "\\]"));
    }
}

fn emit_enum(out: &mut String, item: &Enum) -> Result<(), String> {
    let name = &item.name;
    let repr = rust_scalar(&item.repr).ok_or(format!("enum {name}: unknown type {}", item.repr))?;
    let _ = write!(
        out,
        "\n/// `{name}` of the format. Open: a file may hold a value without a name.\n\
         #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]\n\
         pub struct {name}(pub {repr});\n\
         #[allow(non_upper_case_globals)]\nimpl {name} {{\n"
    );
    for (value, number) in &item.values {
        let _ = writeln!(out, "    /// `{value}`\n    pub const {value}: Self = Self({number});");
    }
    let _ = writeln!(
        out,
        "    /// The name that the format gives this value.\n    \
         pub fn variant_name(self) -> Option<&'static str> {{\n        match self {{"
    );
    for (value, _) in &item.values {
        let _ = writeln!(out, "            Self::{value} => Some({value:?}),");
    }
    let _ = writeln!(out, "            _ => None,\n        }}\n    }}\n}}");
    Ok(())
}

fn emit_union(out: &mut String, item: &Union) {
    let name = &item.name;
    let _ = write!(
        out,
        "\n/// `{name}`: one table out of several, owned.\n\
         #[derive(Clone, Debug, Default, PartialEq)]\npub enum {name}T {{\n    \
         /// No table.\n    #[default]\n    NONE,\n"
    );
    for member in &item.members {
        let _ = writeln!(out, "    /// A [`{member}T`].\n    {member}(Box<{member}T>),");
    }
    let _ = write!(
        out,
        "}}\n\nimpl {name}T {{\n    /// The tag in the file.\n    pub fn tag(&self) -> u8 {{\n        match self {{\n            Self::NONE => 0,\n"
    );
    for (index, member) in item.members.iter().enumerate() {
        let _ = writeln!(out, "            Self::{member}(_) => {},", index + 1);
    }
    let _ = write!(
        out,
        "        }}\n    }}\n\n    /// Writes the table, if there is one.\n    \
         pub fn pack(self, builder: &mut FlatBufferBuilder<'_>) -> Option<WIPOffset<UnionWIPOffset>> {{\n        match self {{\n            Self::NONE => None,\n"
    );
    for member in &item.members {
        let _ = writeln!(out, "            Self::{member}(table) => Some(table.pack(builder).as_union_value()),");
    }
    let _ = write!(
        out,
        "        }}\n    }}\n}}\n\n/// The name of the table that a tag of `{name}` stands for.\n\
         pub fn {}_name(tag: u8) -> Option<&'static str> {{\n    match tag {{\n        0 => Some(\"NONE\"),\n",
        snake_case(name)
    );
    for (index, member) in item.members.iter().enumerate() {
        let _ = writeln!(out, "        {} => Some({member:?}),", index + 1);
    }
    let _ = write!(
        out,
        "        _ => None,\n    }}\n}}\n\nfn verify_{}(tag: u8, verifier: &mut Verifier, at: usize) -> Result<(), InvalidFlatbuffer> {{\n    match tag {{\n",
        snake_case(name)
    );
    for (index, member) in item.members.iter().enumerate() {
        let _ = writeln!(
            out,
            "        {} => verifier.verify_union_variant::<ForwardsUOffset<{member}>>({member:?}, at),",
            index + 1
        );
    }
    // A tag that this schema does not know is skipped, as the format's readers skip it.
    let _ = writeln!(out, "        _ => Ok(()),\n    }}\n}}");
}

/// The type in a buffer that a field of this slot follows to.
fn wire_type(slot: &Slot, life: &str) -> String {
    let item = match &slot.kind {
        Kind::Scalar(scalar) => scalar.to_string(),
        Kind::Enum(item) => rust_scalar(&item.repr).unwrap_or("i32").to_string(),
        Kind::String => format!("ForwardsUOffset<&{life} str>"),
        Kind::Table(table) => format!("ForwardsUOffset<{table}<{life}>>"),
        Kind::Union(_) => format!("ForwardsUOffset<Table<{life}>>"),
    };
    if slot.field.is_vector { format!("ForwardsUOffset<Vector<{life}, {item}>>") } else { item }
}

/// A literal for the default of a scalar or enum field.
fn default_literal(slot: &Slot) -> String {
    let text = slot.field.default.as_deref();
    match &slot.kind {
        Kind::Scalar("bool") => text.unwrap_or("false").to_string(),
        Kind::Scalar(scalar @ ("f32" | "f64")) => {
            format!("{}_{scalar}", text.unwrap_or("0"))
        }
        Kind::Enum(item) => {
            let number = item.values.iter().find(|(name, _)| Some(name.as_str()) == text);
            number.map_or(0, |(_, number)| *number).to_string()
        }
        _ => text.unwrap_or("0").to_string(),
    }
}

fn emit_view(out: &mut String, table: &Table, slots: &[Slot]) {
    let name = &table.name;
    out.push('\n');
    doc(out, "", &table.doc, &format!("Table `{name}` of the format."));
    let _ = write!(
        out,
        "#[derive(Clone, Copy)]\npub struct {name}<'a> {{\n    table: Table<'a>,\n}}\n\n\
         impl<'a> Follow<'a> for {name}<'a> {{\n    type Inner = {name}<'a>;\n    \
         unsafe fn follow(buf: &'a [u8], loc: usize) -> Self::Inner {{\n        \
         // SAFETY: the caller vouches for a table at `loc`, as `Follow` asks.\n        \
         Self {{ table: unsafe {{ Table::new(buf, loc) }} }}\n    }}\n}}\n\n\
         impl<'a> {name}<'a> {{\n"
    );
    for slot in slots {
        let offset = 4 + 2 * slot.id;
        let _ = writeln!(
            out,
            "    /// Place of `{}` in the vtable.\n    pub const {}: u16 = {offset};",
            slot.field.name, slot.vt
        );
        if matches!(slot.kind, Kind::Union(_)) {
            let _ = writeln!(
                out,
                "    /// Place of the tag of `{}` in the vtable.\n    pub const {}_TYPE: u16 = {};",
                slot.field.name,
                slot.vt,
                offset - 2
            );
        }
    }
    for slot in slots {
        emit_getter(out, slot);
    }
    let _ = writeln!(out, "}}");
}

fn emit_getter(out: &mut String, slot: &Slot) {
    const SAFETY: &str = "// SAFETY: a view exists only over a buffer whose table was verified.";
    let Slot { field, name, vt, kind, .. } = slot;
    let method = ident(name);
    let wire = wire_type(slot, "'a");
    doc(out, "    ", &field.doc, &format!("Field `{}`.", field.name));
    if field.is_vector || matches!(kind, Kind::String | Kind::Table(_)) {
        let result = match (field.is_vector, kind) {
            (false, Kind::String) => "&'a str".to_string(),
            (false, Kind::Table(table)) => format!("{table}<'a>"),
            _ => wire.trim_start_matches("ForwardsUOffset<").strip_suffix('>').unwrap_or("").to_string(),
        };
        let _ = writeln!(
            out,
            "    pub fn {method}(&self) -> Option<{result}> {{\n        {SAFETY}\n        \
             unsafe {{ self.table.get::<{wire}>(Self::{vt}, None) }}\n    }}"
        );
        return;
    }
    match kind {
        Kind::Union(item) => {
            let _ = writeln!(
                out,
                "    pub fn {name}_tag(&self) -> u8 {{\n        {SAFETY}\n        \
                 unsafe {{ self.table.get::<u8>(Self::{vt}_TYPE, Some(0)) }}.unwrap_or(0)\n    }}"
            );
            for (index, member) in item.members.iter().enumerate() {
                let _ = writeln!(
                    out,
                    "    /// `{}` if it is a [`{member}`].\n    pub fn {name}_as_{}(&self) -> Option<{member}<'a>> {{\n        \
                     if self.{name}_tag() != {} {{\n            return None;\n        }}\n        {SAFETY}\n        \
                     unsafe {{ self.table.get::<ForwardsUOffset<{member}<'a>>>(Self::{vt}, None) }}\n    }}",
                    field.name,
                    snake_case(member),
                    index + 1
                );
            }
        }
        Kind::Enum(item) => {
            let default = default_literal(slot);
            let _ = writeln!(
                out,
                "    pub fn {method}(&self) -> {0} {{\n        {SAFETY}\n        \
                 {0}(unsafe {{ self.table.get::<{wire}>(Self::{vt}, Some({default})) }}.unwrap_or({default}))\n    }}",
                item.name
            );
        }
        _ => {
            let default = default_literal(slot);
            let _ = writeln!(
                out,
                "    pub fn {method}(&self) -> {wire} {{\n        {SAFETY}\n        \
                 unsafe {{ self.table.get::<{wire}>(Self::{vt}, Some({default})) }}.unwrap_or({default})\n    }}"
            );
        }
    }
}

fn emit_verify(out: &mut String, table: &Table, slots: &[Slot]) {
    let _ = write!(
        out,
        "\nimpl Verifiable for {}<'_> {{\n    fn run_verifier(verifier: &mut Verifier, at: usize) -> Result<(), InvalidFlatbuffer> {{\n        \
         let {}table = verifier.visit_table(at)?;\n",
        table.name,
        if slots.is_empty() { "" } else { "mut " }
    );
    for slot in slots {
        let field = &slot.field.name;
        match &slot.kind {
            Kind::Union(item) => {
                // Not `visit_union`: it refuses a tag without a value, which the format's
                // own writer leaves behind every op that has no parameter.
                let _ = writeln!(
                    out,
                    "        table = table.visit_field::<u8>(\"{field}_type\", Self::{0}_TYPE, false)?;\n        \
                     let tag = match table.deref(Self::{0}_TYPE)? {{\n            \
                     Some(at) => table.verifier().get_u8(at)?,\n            None => 0,\n        }};\n        \
                     if let Some(at) = table.deref(Self::{0})? {{\n            verify_{1}(tag, table.verifier(), at)?;\n        }}",
                    slot.vt,
                    snake_case(&item.name)
                );
            }
            _ => {
                let wire = match (&slot.kind, slot.field.is_vector) {
                    (Kind::String, true) => "ForwardsUOffset<Vector<'_, ForwardsUOffset<&'_ str>>>".to_string(),
                    _ => wire_type(slot, "'_"),
                };
                let _ =
                    writeln!(out, "        table = table.visit_field::<{wire}>({field:?}, Self::{}, false)?;", slot.vt);
            }
        }
    }
    let _ = writeln!(out, "        table.finish();\n        Ok(())\n    }}\n}}");
}

fn owned_type(slot: &Slot) -> String {
    let item = match &slot.kind {
        Kind::Scalar(scalar) => scalar.to_string(),
        Kind::Enum(item) => item.name.clone(),
        Kind::String => "String".to_string(),
        Kind::Table(table) => format!("{table}T"),
        Kind::Union(item) => format!("{}T", item.name),
    };
    match &slot.kind {
        _ if slot.field.is_vector => format!("Option<Vec<{item}>>"),
        Kind::String => format!("Option<{item}>"),
        Kind::Table(_) => format!("Option<Box<{item}>>"),
        _ => item,
    }
}

fn emit_owned(out: &mut String, table: &Table, slots: &[Slot]) -> Result<(), String> {
    let name = &table.name;
    let mut seen = BTreeMap::new();
    let _ = write!(
        out,
        "\n/// [`{name}`], owned; [`Default`] gives the format's own defaults.\n#[derive(Clone, Debug, PartialEq)]\npub struct {name}T {{\n"
    );
    for slot in slots {
        if let Some(other) = seen.insert(&slot.name, &slot.field.name) {
            return Err(format!("{name}: {other} and {} have one Rust name", slot.field.name));
        }
        doc(out, "    ", &slot.field.doc, &format!("Field `{}`.", slot.field.name));
        let _ = writeln!(out, "    pub {}: {},", ident(&slot.name), owned_type(slot));
    }
    let _ = write!(out, "}}\n\nimpl Default for {name}T {{\n    fn default() -> Self {{\n        Self {{\n");
    for slot in slots {
        let value = match &slot.kind {
            _ if slot.field.is_vector => "None".to_string(),
            Kind::String | Kind::Table(_) => "None".to_string(),
            Kind::Union(item) => format!("{}T::NONE", item.name),
            Kind::Enum(item) => format!("{}({})", item.name, default_literal(slot)),
            Kind::Scalar(_) => default_literal(slot),
        };
        let _ = writeln!(out, "            {}: {value},", ident(&slot.name));
    }
    let _ = writeln!(out, "        }}\n    }}\n}}");
    Ok(())
}

fn emit_pack(out: &mut String, table: &Table, slots: &[Slot]) {
    let name = &table.name;
    let _ = write!(
        out,
        "\nimpl {name}T {{\n    /// Writes the table and all that it holds; fields at their default take no room.\n    \
         pub fn pack<'b>(self, builder: &mut FlatBufferBuilder<'b>) -> WIPOffset<{name}<'b>> {{\n"
    );
    // Children first: a table must stand whole before another starts.
    for slot in slots {
        let field = ident(&slot.name);
        let value = match (&slot.kind, slot.field.is_vector) {
            (Kind::Scalar(_), true) => format!("self.{field}.map(|items| builder.create_vector(&items))"),
            (Kind::Enum(_), true) => format!(
                "self.{field}.map(|items| builder.create_vector(&items.iter().map(|item| item.0).collect::<Vec<_>>()))"
            ),
            (Kind::String, true) => format!(
                "self.{field}.map(|items| {{\n            let items: Vec<_> = items.iter().map(|item| builder.create_shared_string(item)).collect();\n            \
                 builder.create_vector(&items)\n        }})"
            ),
            (Kind::Table(_), true) => format!(
                "self.{field}.map(|items| {{\n            let items: Vec<_> = items.into_iter().map(|item| item.pack(builder)).collect();\n            \
                 builder.create_vector(&items)\n        }})"
            ),
            (Kind::String, false) => format!("self.{field}.map(|text| builder.create_shared_string(&text))"),
            (Kind::Table(_), false) => format!("self.{field}.map(|table| table.pack(builder))"),
            (Kind::Union(_), _) => {
                let _ = writeln!(out, "        let {field}_tag = self.{field}.tag();");
                format!("self.{field}.pack(builder)")
            }
            (Kind::Scalar(_) | Kind::Enum(_), false) => continue,
        };
        let _ = writeln!(out, "        let {field} = {value};");
    }
    let _ = writeln!(out, "        let start = builder.start_table();");
    // Widest first, so that no padding stands between fields.
    let mut order: Vec<&Slot> = slots.iter().collect();
    order.sort_by_key(|slot| std::cmp::Reverse(if slot.field.is_vector { 4 } else { size_of(&slot.kind) }));
    for slot in &order {
        let field = ident(&slot.name);
        let vt = format!("{name}::{}", slot.vt);
        let line = match &slot.kind {
            Kind::Scalar(_) if !slot.field.is_vector => {
                format!("builder.push_slot({vt}, self.{field}, {});", default_literal(slot))
            }
            Kind::Enum(_) if !slot.field.is_vector => {
                format!("builder.push_slot({vt}, self.{field}.0, {});", default_literal(slot))
            }
            _ => format!(
                "if let Some(offset) = {field} {{\n            builder.push_slot_always({vt}, offset);\n        }}"
            ),
        };
        let _ = writeln!(out, "        {line}");
    }
    for slot in slots.iter().filter(|slot| matches!(slot.kind, Kind::Union(_))) {
        let _ = writeln!(out, "        builder.push_slot({name}::{}_TYPE, {}_tag, 0);", slot.vt, ident(&slot.name));
    }
    let _ = writeln!(out, "        WIPOffset::new(builder.end_table(start).value())\n    }}\n}}");
}

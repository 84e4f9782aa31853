//! Sizes of the caches that one core reaches.

use std::path::Path;

/// Sizes in bytes of the data caches, nearest first; those of a usual core where the system does not tell.
pub(super) fn sizes() -> Vec<usize> {
    let found = from_sysfs(Path::new("/sys/devices/system/cpu/cpu0/cache"));
    if found.is_empty() { vec![32 << 10, 1 << 20, 16 << 20] } else { found }
}

fn from_sysfs(folder: &Path) -> Vec<usize> {
    let mut found = Vec::new();
    for index in 0..8 {
        let cache = folder.join(format!("index{index}"));
        let read = |what| std::fs::read_to_string(cache.join(what)).ok();
        let (Some(level), Some(kind), Some(size)) = (read("level"), read("type"), read("size")) else { continue };
        if let (Ok(level), false, Some(bytes)) =
            (level.trim().parse::<u8>(), kind.trim() == "Instruction", bytes(&size))
        {
            found.push((level, bytes));
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|cache| cache.0);
    found.into_iter().map(|(_, bytes)| bytes).collect()
}

/// `48K`, `32M` or plain bytes.
fn bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, shift) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 10),
        'M' => (&text[..text.len() - 1], 20),
        _ => (text, 0),
    };
    let bytes = digits.parse::<usize>().ok()?.checked_mul(1 << shift)?;
    (bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{bytes, from_sysfs};

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(
            ["48K", "2M\n", "512", "K", "-1K", "0K"].map(bytes),
            [Some(48 << 10), Some(2 << 20), Some(512), None, None, None]
        );
    }

    #[test]
    fn instruction_caches_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let caches =
            [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2048K"), ("3", "Unified", "32M")];
        for (index, (level, kind, size)) in caches.into_iter().enumerate() {
            let folder = dir.path().join(format!("index{index}"));
            std::fs::create_dir(&folder).unwrap();
            for (file, text) in [("level", level), ("type", kind), ("size", size)] {
                std::fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        }
        assert_eq!(from_sysfs(dir.path()), [48 << 10, 2 << 20, 32 << 20]);
        assert_eq!(from_sysfs(&dir.path().join("none")), Vec::<usize>::new());
    }
}

//! Whatever is accepted prints as it was read, and edits neither panic nor touch other words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsutsumi_providers::coredns::corefile::{Corefile, Edit, config_hash};
use tsutsumi_providers::coredns::{acl, bufsize, forward::Forward, nsid};

fuzz_target!(|text: &str| {
    let Ok(tree) = Corefile::parse(text) else { return };
    assert_eq!(tree.print(), text);
    let _ = config_hash(&tree);
    for (block, view) in tree.blocks().iter().enumerate() {
        let _ = (acl::of(view), bufsize::of(view), nsid::of(view));
        let lines = vec![
            (0, "log {".to_owned()),
            (1, "class error".to_owned()),
            (0, "}".to_owned()),
        ];
        let _ = tree.edit(&[Edit::InsertFirst {
            block,
            lines: lines.clone(),
        }]);
        for (directive, view) in view.directives().iter().enumerate() {
            let _ = (view.lines(), view.args(), Forward::of(view));
            let _ = tree.edit(&[Edit::InsertAfter {
                block,
                directive,
                lines: lines.clone(),
            }]);
            let _ = tree.edit(&[Edit::Replace {
                block,
                directive,
                lines: lines.clone(),
            }]);
            let _ = tree.edit(&[Edit::Remove { block, directive }]);
        }
    }
});

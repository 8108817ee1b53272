//! Records of sources that files describe ([`mapping`]).

use std::sync::Arc;

use event::Event;
use mapping::{Mappings, Work};

use crate::{Decoded, default};

/// The mappings, and memory to apply them with.
#[derive(Debug, Default)]
pub(crate) struct Mapper {
    mappings: Arc<Mappings>,
    work: Work,
    native: Event,
    made: Event,
}

impl Mapper {
    pub(crate) fn new(mappings: Arc<Mappings>) -> Mapper {
        Mapper { mappings, ..Mapper::default() }
    }

    /// Reads a JSON document. What `out` has from a header around it stays where the document says
    /// nothing of its own.
    pub(crate) fn document(&mut self, dataset: &str, native: &Event, out: &mut Event) -> Decoded {
        let Some(source) = self.mappings.of_document(dataset, native, &mut self.work) else {
            return Decoded::No;
        };
        self.made.clear();
        source.map(native, false, &mut self.made, &mut self.work);
        self.hand_on(out)
    }

    /// Reads a record of a Windows event log, which `write` writes in its one form.
    pub(crate) fn windows(
        &mut self,
        channel: &str,
        provider: &str,
        out: &mut Event,
        write: &mut dyn FnMut(&mut Event),
    ) {
        let Mapper { mappings, work, native, made } = self;
        native.clear();
        write(native);
        made.clear();
        match mappings.of_windows(channel, provider, native, work) {
            Some(source) => source.map(native, false, made, work),
            None => made.clone_from(native),
        }
        self.hand_on(out);
    }

    /// Reads a line, without its header if it had one that named a program.
    pub(crate) fn line(
        &mut self,
        dataset: &str,
        program: &str,
        text: &str,
        out: &mut Event,
    ) -> Decoded {
        let Mapper { mappings, work, native, made } = self;
        let Some(source) = mappings.of_line(dataset, program, text, native, work) else {
            return Decoded::No;
        };
        made.clear();
        source.map(native, true, made, work);
        default(made, "message", text);
        self.hand_on(out)
    }

    fn hand_on(&mut self, out: &mut Event) -> Decoded {
        if !out.is_empty() {
            self.made.clone_missing(out);
        }
        std::mem::swap(&mut self.made, out);
        Decoded::Yes
    }
}

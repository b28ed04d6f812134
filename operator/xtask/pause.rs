//! The process that holds a pod's namespaces open. It only has to exist: the runtime ends it with SIGKILL.

fn main() {
    loop {
        std::thread::park();
    }
}

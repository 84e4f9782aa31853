//! Files: objects, archives, shared libraries, headers, manifests.

//! The edge as a part that a process serves.

use transport::process::Part;

use crate::EdgeHandle;

impl Part for EdgeHandle {
    async fn reload(&self) {
        self.reload_certificate().await;
    }

    async fn drain(self) {
        Self::drain(&self).await;
    }
}

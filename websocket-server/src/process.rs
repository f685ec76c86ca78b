//! The broker as a part that a process serves.

use transport::process::Part;

use crate::BrokerHandle;

impl Part for BrokerHandle {
    async fn reload(&self) {
        self.reload_keys().await;
        self.reload_certificate().await;
    }

    async fn failed(&self) {
        Self::failed(self).await;
    }

    async fn drain(self) {
        Self::drain(self).await;
    }
}

//! Waiting beside a router.

use actix::{AsyncContext, Context, Handler, Message};

use super::actor::RouterActor;

type Next = dyn FnOnce(&mut RouterActor, &mut Context<RouterActor>) + Send;

/// What was waited for is ready: continue.
#[derive(Message)]
#[rtype(result = "()")]
struct GoOn(Box<Next>);

impl Handler<GoOn> for RouterActor {
    type Result = ();

    fn handle(&mut self, GoOn(go_on): GoOn, ctx: &mut Self::Context) {
        go_on(self, ctx);
    }
}

impl RouterActor {
    /// Waits, and then continues in the router. An actor polls all its pending futures on every
    /// message, so long waits run in tasks of their own. Each continuation waits in the mailbox
    /// once, past its bound.
    pub(super) fn after<T: Send + 'static>(
        ctx: &Context<Self>,
        waiting: impl Future<Output = T> + 'static,
        go_on: impl FnOnce(&mut Self, T, &mut Context<Self>) + Send + 'static,
    ) {
        let router = ctx.address().downgrade();
        actix_rt::spawn(async move {
            let outcome = waiting.await;
            if let Some(router) = router.upgrade() {
                router.do_send(GoOn(Box::new(move |actor, ctx| go_on(actor, outcome, ctx))));
            }
        });
    }
}

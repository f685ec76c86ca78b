//! Values of earlier releases that are still understood.

use config::Value;

const BACKEND: &str = "store.backend";
const DURABILITY: &str = "store.durability";

/// Writes values of earlier releases as they are written now: `store.durability = memory` became
/// `store.backend = memory`. A backend that is set as well counts; if it is another one, the former
/// value stays, and is refused.
pub(super) fn renewed(mut values: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let is_memory = |value: &Value| value.to_string() == "memory";
    let backend = values.iter().find(|(key, _)| key == BACKEND).map(|(_, value)| is_memory(value));
    if let Some(at) = values.iter().position(|(key, value)| key == DURABILITY && is_memory(value)) {
        match backend {
            None => BACKEND.clone_into(&mut values[at].0),
            Some(true) => drop(values.remove(at)),
            Some(false) => {}
        }
    }
    values
}

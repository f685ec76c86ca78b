//! Which records a store accepts: the rule that all backends share.

use std::collections::HashMap;

use crate::{channel::ChannelName, error::StoreError, options::StoreOptions, owner::Standing, record::NewRecord};

/// What a store holds before an append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) channels: u64,
    /// Numbers below it are reserved.
    pub(crate) next_seq: u64,
}

/// Refuses what cannot be appended, before anything is appended. `head_of` returns the newest
/// number of a channel, `None` if there is no such channel.
///
/// # Errors
/// [`StoreError::Invalid`], [`StoreError::RecordTooLarge`], [`StoreError::NotReserved`],
/// [`StoreError::OutOfOrder`], [`StoreError::TooManyChannels`], and those of `head_of`.
pub(crate) fn check(
    records: &[NewRecord],
    options: &StoreOptions,
    held: Held,
    mut head_of: impl FnMut(&ChannelName) -> Result<Option<u64>, StoreError>,
) -> Result<(), StoreError> {
    let mut heads: HashMap<&ChannelName, u64> = HashMap::new();
    let mut new_channels = 0_u64;
    for record in records {
        let bounds = options.policies.family(record.channel.family()).inbox;
        let inbox_limit = if record.delivery.is_some() && bounds.bytes != 0 { bounds.bytes } else { u64::MAX };
        record.check(options.max_record_bytes.min(inbox_limit))?;
        if record.seq >= held.next_seq {
            return Err(StoreError::NotReserved(record.seq));
        }
        let head = match heads.get(&record.channel) {
            Some(head) => *head,
            None => {
                let known = head_of(&record.channel)?;
                if known.is_none() {
                    let standing = record.owner.as_ref().map_or(Standing::Agent, |owner| owner.key.standing);
                    let limit = standing.part_of(options.max_channels);
                    new_channels += 1;
                    if held.channels + new_channels > limit {
                        return Err(StoreError::TooManyChannels { limit });
                    }
                }
                known.unwrap_or(0)
            }
        };
        if record.seq <= head {
            return Err(StoreError::OutOfOrder { channel: record.channel.clone(), seq: record.seq, head });
        }
        if records.len() > 1 {
            heads.insert(&record.channel, record.seq);
        }
    }
    Ok(())
}

//! The steps that write, as Lua scripts: each validates before its first write.
//!
//! All keys of a script share a tag. A lease is a hash of its own. `total` has the epoch (`e`), the generation (`g`), the
//! forgotten generation (`d`), the list of instances (`i`: their ids, a space behind each), retired series (`s` + key) and
//! tombstones (`x` + id); a record has its version (`v`), the end of its lease (`l`), a name (`n`), texts (`t` + number) and
//! values (`c` + number). The list is no key of its own: one that is evicted alone would be an empty one.
//!
//! Reading every key first finds keys of someone else (WRONGTYPE) before anything is written. Integers
//! travel as text: Lua's numbers are doubles.

use super::super::socket::Repeat;

/// What the scripts of a shard begin with. KEYS: total, record.
const HEAD: &str = r"
local total, record = KEYS[1], KEYS[2]
local id = ARGV[1]
local t = redis.call('HMGET', total, 'e', 'g', 'd', 'x' .. id)
local r = redis.call('HMGET', record, 'v', 'l')
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function text(number) return string.format('%.0f', number) end
local function set(key, from, to)
  for first = from, to, 1000 do
    redis.call('HSET', key, unpack(ARGV, first, math.min(first + 999, to)))
  end
end
local function begin(fresh)
  if not t[1] then
    t[1] = fresh
    redis.call('HSET', total, 'e', fresh, 'g', '0', 'd', '0')
  end
end
local function listed()
  local list = redis.call('HGET', total, 'i') or ''
  return list, string.find(list, id .. ' ', 1, true)
end
local function unlist()
  local list, at = listed()
  if not at then return 0 end
  redis.call('HSET', total, 'i', string.sub(list, 1, at - 1) .. string.sub(list, at + #id + 1))
  return 1
end
local function keep(ms)
  if redis.call('EXISTS', record) == 1 then
    local list, at = listed()
    if not at then redis.call('HSET', total, 'i', list .. id .. ' ') end
    redis.call('PEXPIRE', record, ms)
  end
  redis.call('PEXPIRE', total, text(tonumber(ms) + 691200000))
end
local function answer()
  return { t[1], t[2] or '0', t[3] or '0', r[1] or '', t[4] or '' }
end
";

/// ARGV: id, fresh epoch, alive ms, data ms, name.
const REGISTER: &str = r"
begin(ARGV[2])
if not r[1] and not t[4] then
  r[1] = '0'
  redis.call('HSET', record, 'v', '0', 'l', text(now + tonumber(ARGV[3])), 'n', ARGV[5])
end
keep(ARGV[4])
return answer()
";

/// ARGV: id, fresh epoch, alive ms, data ms, epoch, from, to, n, n field-value words, gone fields.
const PUBLISH: &str = r"
begin(ARGV[2])
if r[1] and t[1] == ARGV[5] then
  if r[1] == ARGV[6] and ARGV[6] ~= ARGV[7] then
    local n = tonumber(ARGV[8])
    set(record, 9, 8 + n)
    for at = 9 + n, #ARGV do redis.call('HDEL', record, ARGV[at]) end
    r[1] = ARGV[7]
  end
  redis.call('HSET', record, 'v', r[1], 'l', text(now + tonumber(ARGV[3])))
end
keep(ARGV[4])
return answer()
";

/// ARGV: id, epoch, generation, version, then key-value words of the totals.
const FOLD: &str = r"
if t[1] ~= ARGV[2] or t[2] ~= ARGV[3] or t[4] or r[1] ~= ARGV[4] or tonumber(r[2]) > now then
  return 0
end
local next = text(tonumber(t[2]) + 1)
set(total, 5, #ARGV)
redis.call('HSET', total, 'g', next, 'x' .. id, r[1] .. ' ' .. next .. ' ' .. text(now))
redis.call('DEL', record)
unlist()
return 1
";

/// ARGV: '', epoch, generation, newest forgotten generation, then fields to drop.
const PRUNE: &str = r"
if t[1] ~= ARGV[2] or t[2] ~= ARGV[3] then return 0 end
local forgotten = t[3]
if tonumber(ARGV[4]) > tonumber(forgotten) then forgotten = ARGV[4] end
redis.call('HSET', total, 'g', text(tonumber(t[2]) + 1), 'd', forgotten)
for at = 5, #ARGV do redis.call('HDEL', total, ARGV[at]) end
return 1
";

/// Takes an id whose record is gone from the list. ARGV: id. 1 if it was listed, and nothing folded it.
const SWEEP: &str = r"
local was = 0
if not r[1] then was = unlist() end
if t[4] then return 0 end
return was
";

/// What the scripts of leases begin with. KEYS: the lease, with its owner (`o`), what that is called
/// (`n`), its end (`u`), its token (`t`), and a note (`m`) that no script looks at. ARGV: owner.
const LEASE_HEAD: &str = r"
local lease = KEYS[1]
local l = redis.call('HMGET', lease, 'o', 'u', 't', 'n')
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function text(number) return string.format('%.0f', number) end
local last = tonumber(l[3] or '0')
local ending = tonumber(l[2] or '0')
if not last or not ending then
  return redis.error_reply('WRONGTYPE the lease is damaged')
end
local live = l[1] and ending > now
local held = live and l[1] == ARGV[1] and l[3] == ARGV[2]
";

/// ARGV: owner, what it is called, ms.
const ACQUIRE: &str = r"
if live and l[1] ~= ARGV[1] then
  return { 'taken', text(ending - now), l[4] or '' }
end
local token = l[3]
if not live or not token then token = text(math.max(last, now) + 1) end
redis.call('HSET', lease, 'o', ARGV[1], 'n', ARGV[2], 'u', text(now + tonumber(ARGV[3])), 't', token)
return { 'granted', token }
";

/// ARGV: owner, token, ms.
const RENEW: &str = r"
if not held then return 0 end
redis.call('HSET', lease, 'u', text(now + tonumber(ARGV[3])))
return 1
";

/// ARGV: owner, token. The token stays.
const RELEASE: &str = r"
if not held then return 0 end
redis.call('HDEL', lease, 'o', 'u', 'n')
return 1
";

/// Has a record stay for longer, and what its shard needs with it. ARGV: id, ms.
const EXTEND: &str = r"
local function stay(key, ms)
  local left = redis.call('PTTL', key)
  if left >= 0 and left < ms then redis.call('PEXPIRE', key, text(ms)) end
end
stay(record, tonumber(ARGV[2]))
stay(total, tonumber(ARGV[2]) + 691200000)
return 1
";

/// Does with a key of its own all that the others do with theirs. ARGV: id.
const PROBE: &str = r"
begin('1')
redis.call('HSET', record, 'v', '0', 'c', '1')
redis.call('HDEL', record, 'c')
keep('60000')
redis.call('PTTL', record)
local kept = redis.call('HGET', record, 'v')
unlist()
redis.call('DEL', record, total)
return kept
";

/// The scripts, by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Register,
    Publish,
    Fold,
    Prune,
    Sweep,
    Acquire,
    Renew,
    Release,
    Extend,
    Probe,
}

impl Step {
    /// Whether it may be sent a second time where nothing tells what became of the first. Versions
    /// make a publish the same twice; a register might make a record that was folded meanwhile, and
    /// of the others the second one would say that it came too late.
    pub(super) fn repeat(self) -> Repeat {
        match self {
            Self::Publish | Self::Sweep | Self::Extend | Self::Probe => Repeat::Safe,
            Self::Register
            | Self::Fold
            | Self::Prune
            | Self::Acquire
            | Self::Renew
            | Self::Release => Repeat::Never,
        }
    }

    /// The whole script.
    pub(super) fn source(self) -> String {
        let (head, body) = match self {
            Self::Register => (HEAD, REGISTER),
            Self::Publish => (HEAD, PUBLISH),
            Self::Fold => (HEAD, FOLD),
            Self::Prune => (HEAD, PRUNE),
            Self::Sweep => (HEAD, SWEEP),
            Self::Acquire => (LEASE_HEAD, ACQUIRE),
            Self::Renew => (LEASE_HEAD, RENEW),
            Self::Release => (LEASE_HEAD, RELEASE),
            Self::Extend => (HEAD, EXTEND),
            Self::Probe => (HEAD, PROBE),
        };
        format!("{head}{body}")
    }
}

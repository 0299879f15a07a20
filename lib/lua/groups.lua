--[[ groups: the tasks of a group wait apart from the others, by priority, and the group stands in line once for each
  priority: its turn, `=group`, is in the ready list among the ids of tasks without a group. lease hands out the first task
  of the group, and the turn goes back to the end of the line.
  An entry is a priority and a group, such as `5acme`. All group state of a queue:
    firsts          hash    by entry: the id of its first task, if it came when no other task of the entry waited. A field
                            costs less than a list: most of many groups have one waiting task
    group:<entry>   list    ids of the other queued tasks, oldest first
    waiting         zset    entries, by the length of their lists
    expiring        zset    beside expiring tasks: `=entry` of held turns, by when to look at them again
    busy            zset    `group \n id` of leased tasks, all with score 0
    overrides       hash    by group: what differs from the queue's settings for groups, as JSON
    asked:<group>   string  exists while a worker has asked to hold the group; `asked:` exists while any group is held so
    pace:<group>    string  time and levels of the group's token buckets; expires when they are full
  invariant  an entry is in `waiting` exactly if its list is not empty. If it is there or in `firsts`, its turn is either in
             the ready list, once, or held; the entry of a held turn is not in `firsts`
  Only three events move a turn:
    an entry receives its first id the turn goes to the end of the line
    a turn was served              it goes back to the end of the line, or is held if the group may lease no more
    a hold is over                 the turn goes to the end of the line
  Nothing here runs for tasks without a group. ]]
local LOOK_AGAIN_MS = 60000 -- how often a hold without a known end is checked; only a safeguard, because an event ends it

function open_groups()
  if groups then return groups end
  groups = { is_reading = false }
  local base = sub(task, 1, -6)
  local list, waiting, busy = base .. "group:", base .. "waiting", base .. "busy"
  local overrides, asked, pace, firsts = base .. "overrides", base .. "asked:", base .. "pace:", base .. "firsts"

  local is_limited, defaults, any_override, any_asked -- read once per commit
  local limits, rooms = {}, {} -- by group
  local touched, heads, tails = {}, {}, {} -- entries with new ids, in order; these ids
  local turns, grouped = {}, {} -- by priority: turns to push; change of (queued tasks of groups minus turns in line)
  local freed = {} -- groups that may lease again, in order and as keys
  local recorded, emptied = {}, {} -- new lengths of lists, as length, entry, ...; entries whose lists are empty now

  -- Whether any group of the queue has limits, or a worker has asked to hold one.
  function groups.are_limited()
    if is_limited ~= nil then return is_limited end
    local text = redis.call("HGET", settings, "groups")
    defaults = text and cjson.decode(text) or false
    if redis.call("EXISTS", overrides, asked) > 0 then
      any_override, any_asked = redis.call("EXISTS", overrides) == 1, redis.call("EXISTS", asked) == 1
    end
    is_limited = defaults and true or any_override or any_asked or false
    return is_limited
  end

  function groups.enter(name, id)
    local values = joined[busy] or values_in(joined, busy)
    local at = #values
    values[at + 1] = "0"
    values[at + 2] = name .. "\n" .. id
  end

  local function look_at(name)
    if not freed[name] then
      freed[name] = true
      freed[#freed + 1] = name
    end
  end

  -- The only way to free a slot. Safe to repeat: a slot is the id of a task, not a number.
  function groups.leave(name, id)
    local members = left[busy] or values_in(left, busy)
    members[#members + 1] = name .. "\n" .. id
    if is_limited or is_limited == nil and groups.are_limited() then look_at(name) end
  end

  -- What a command answers for each of these members; false: it has none.
  local function read_each(command, key, members)
    if #members <= CHUNK then return members[1] and redis.call(command, key, unpack(members)) or {} end
    local found = {}
    for from = 1, #members, CHUNK do
      local last = math.min(from + CHUNK - 1, #members)
      for _, value in ipairs(redis.call(command, key, unpack(members, from, last))) do found[#found + 1] = value end
    end
    return found
  end

  -- Puts a turn at the end of the line. difference: by how much this changes the number of queued tasks minus turns;
  -- ready_count: how many tasks of the group may be leased.
  local function push_turn(priority, name, difference, ready_count)
    local values = turns[priority] or values_in(turns, priority)
    values[#values + 1] = "=" .. name
    grouped[priority] = (grouped[priority] or 0) + difference
    became_ready = became_ready + ready_count
  end

  -- Adds a queued task to its group, and the turn of the group to the line if it is not there.
  function groups.push(name, priority, id, front)
    local entry = priority .. name
    local pushed = front and heads or tails
    local ids = pushed[entry]
    if ids then
      ids[#ids + 1] = id
      return
    end
    if not heads[entry] and not tails[entry] then touched[#touched + 1] = entry end
    pushed[entry] = { id }
    if front then look_at(name) end -- in strict order, only this task may go on
  end

  local function write_lengths()
    if recorded[1] then in_chunks("ZADD", recorded, waiting) end
    if emptied[1] then in_chunks("ZREM", emptied, waiting) end
    recorded, emptied = {}, {}
  end

  local function collect_length(entry, length)
    if length > 0 then
      local at = #recorded
      recorded[at + 1], recorded[at + 2] = int(length), entry
    else
      emptied[#emptied + 1] = entry
    end
  end

  local function write_pushed()
    local ids, lengths = read_each("HMGET", firsts, touched), read_each("ZMSCORE", waiting, touched)
    local added = {}
    for i = 1, #touched do
      local entry = touched[i]
      local pushed, is_new = tails[entry], not ids[i] and not lengths[i]
      if heads[entry] or is_new and pushed[2] or lengths[i] and groups.are_limited() then
        groups.write_list(entry, ids[i], lengths[i], heads[entry] or {}, pushed or {}, added)
      elseif is_new then
        local at = #added
        added[at + 1] = entry
        added[at + 2] = pushed[1]
        push_turn(sub(entry, 1, 1), sub(entry, 2), 0, 1)
      else
        local priority = sub(entry, 1, 1)
        grouped[priority] = (grouped[priority] or 0) + #pushed
        became_ready = became_ready + #pushed
        collect_length(entry, in_chunks("RPUSH", pushed, list .. entry))
      end
    end
    in_chunks("HSET", added, firsts)
    write_lengths()
  end

  -- Takes turns from the line, and with each the first ids of its group: `share`, and one more for the first `extra` turns.
  -- Returns hands, which the caller settles when it has served them. A turn that gives one task and has no limits needs no hand,
  -- which would cost 1.5 µs: the caller gets, by turn, the id or false, and whether the turn goes back to the line.
  function groups.take(names, priority, share, extra)
    local entries, singles, goes_back, hands, taken, back_count = {}, {}, {}, {}, {}, 0
    for i = 1, #names do entries[i] = priority .. names[i] end
    local ids, lengths = read_each("HMGET", firsts, entries), read_each("ZMSCORE", waiting, entries)
    local gives_one = share == 1 and extra == 0
    groups.are_limited()
    for i = 1, #entries do
      local entry, first, length, id = entries[i], ids[i], lengths[i], false
      if not is_limited and (gives_one or not length) then id = first or length and redis.call("LPOP", list .. entry) end
      singles[i] = id
      if not id then
        local most = i <= extra and share + 1 or share
        hands[#hands + 1] = groups.take_hand(names[i], priority, first, tonumber(length or 0), most)
      else
        length = tonumber(length or 0)
        if first then
          taken[#taken + 1] = entry
        else
          length = length - 1
          collect_length(entry, length)
        end
        if length > 0 then
          goes_back[i] = true
          back_count = back_count + 1
        end
      end
    end
    if taken[1] then redis.call("HDEL", firsts, unpack(taken)) end
    write_lengths()
    grouped[priority] = (grouped[priority] or 0) - back_count
    return hands, singles, goes_back
  end

  -- Called by commit, after it has written `left` and `joined`.
  function groups.commit()
    if touched[1] then write_pushed() end
    if freed[1] then
      left, joined, rooms = {}, {}, {}
      groups.look_at_freed()
    end
    for priority, values in pairs(turns) do in_chunks("RPUSH", values, ready .. priority) end
    for priority, difference in pairs(grouped) do
      if difference ~= 0 then redis.call("HINCRBY", stats, "grouped" .. priority, difference) end
    end
    groups = false
  end

  -- Few calls need the functions from here on. Lua creates each function that a call passes, and these would take 6 µs.
  local function define_rest()
    local function count(priority, difference) grouped[priority] = (grouped[priority] or 0) + difference end
    groups.count = count

    -- Whether tasks of the queue wait in or take slots of groups, or a group has settings.
    function groups.are_used() return redis.call("EXISTS", firsts, waiting, busy, overrides) > 0 end

    -- The limits of a group: its own, completed by those of the queue. Empty if there are none.
    function groups.limits(name)
      if limits[name] then return limits[name] end
      groups.are_limited()
      local text = any_override and redis.call("HGET", overrides, name)
      limits[name] = setmetatable(text and cjson.decode(text) or {}, { __index = defaults or nil })
      return limits[name]
    end

    -- Whether a task of the group keeps its slot until it has ended, so that no later one overtakes it.
    function groups.is_strict(name) return groups.limits(name).order == "strict" end

    -- The ids of up to `most` tasks in the slots of a group.
    function groups.slots(name, most)
      local ids = {}
      local range = { "[" .. name .. "\n", "(" .. name .. "\11" }
      for i, found in ipairs(redis.call("ZRANGE", busy, range[1], range[2], "BYLEX", "LIMIT", 0, most)) do
        ids[i] = sub(found, #name + 2)
      end
      return ids
    end

    function groups.slot_count(name) return redis.call("ZLEXCOUNT", busy, "[" .. name .. "\n", "(" .. name .. "\11") end
    function groups.has_slot(name, id) return redis.call("ZSCORE", busy, name .. "\n" .. id) and true end
    -- The scores of held turns, by index; false: the turn is not held.
    local function scores_of(marks) return read_each("ZMSCORE", expiring, marks) end

    -- Records the length of the list of an entry, and returns it.
    local function record_length(entry)
      local length = redis.call("LLEN", list .. entry)
      if length > 0 then
        redis.call("ZADD", waiting, length, entry)
      else
        redis.call("ZREM", waiting, entry)
      end
      return length
    end

    -- Takes up to `most` ids of an entry, whose list has this length and which has this first id.
    local function take_ids(entry, first, length, most)
      local ids = {}
      if first and most > 0 then
        ids[1] = first
        redis.call("HDEL", firsts, entry)
      end
      if length > 0 and most > #ids then
        local popped = redis.call("LPOP", list .. entry, int(most - #ids)) or {}
        if #ids == 0 then return popped end
        for i, id in ipairs(popped) do ids[i + 1] = id end
      end
      return ids
    end

    -- Holds the group for this many ms.
    function groups.ask(name, ms)
      groups.are_limited()
      for _, key in ipairs({ asked, asked .. name }) do
        if redis.call("PTTL", key) < tonumber(ms) then redis.call("SET", key, 1, "PX", ms) end
      end
      any_asked, is_limited = true, true
    end

    local function store_pace(name, room, count)
      local tokens = spend(room.levels, count)
      redis.call("SET", pace .. name, now_text .. " " .. tokens, "PX", int(ms_until(room.rates, room.levels) + 1))
    end

    -- How many more tasks of an entry may be leased now; if none, why not, and when to look again.
    function groups.room(name, priority)
      if not groups.are_limited() then return math.huge end
      local room = rooms[name]
      if not room then
        local own = groups.limits(name)
        room = { most = math.huge, later = now + LOOK_AGAIN_MS }
        rooms[name] = room
        local hold = any_asked and redis.call("PTTL", asked .. name) or 0
        if own.paused then
          room.most, room.cause = 0, "paused"
        elseif hold > 0 then
          room.most, room.cause, room.later = 0, "asked", now + hold
        elseif own.order == "strict" then
          room.most, room.cause = 1, "order"
          for _, id in ipairs(groups.slots(name, 100)) do
            room.first = room.first or {}
            room.first[id] = true
          end
        elseif own.concurrency then
          room.most, room.cause = math.max(0, own.concurrency - groups.slot_count(name)), "concurrency"
        end
        if own.rates and room.most > 0 then
          local filled, tokens = match(redis.call("GET", pace .. name) or "", "^(%d+) (.*)$")
          local most, levels, set_back = fill(own.rates, tokens, filled)
          room.rates, room.levels = own.rates, levels
          if set_back and not groups.is_reading then store_pace(name, room, 0) end
          if most < room.most then
            room.most = most
            if most == 0 then room.cause, room.later = "rate", now + ms_until(own.rates, levels, 1) end
          end
        end
      end
      if room.most > 0 and room.first then
        -- Only the task that has the slot may go on. It is at the head of its list.
        if not room.first[groups.first(priority, name)] then return 0, "order", room.later end
      end
      return room.most, room.cause, room.later
    end

    -- For scripts that only read: why no task of an entry may be leased, until when (0: an event ends it), the reason of the
    -- pause, and the ids of up to `most` tasks that have the slots of the group. Nothing if a task may be leased.
    function groups.held_because(name, priority, most)
      groups.is_reading = true
      local room, cause, later = groups.room(name, priority)
      if room > 0 then return end
      local has_end = cause == "rate" or cause == "asked"
      local has_slots = cause == "order" or cause == "concurrency"
      return cause, has_end and later or 0, groups.limits(name).reason or "", has_slots and groups.slots(name, most) or {}
    end

    -- Updates the room of a group: `taken` ids were taken from its list, and `leased` of them are leased now.
    local function use_room(name, taken, leased)
      local room = rooms[name]
      if not room then return end
      room.most = room.most + taken - leased
      if leased == 0 or not room.rates then return end
      store_pace(name, room, leased)
      local wait = ms_until(room.rates, room.levels, 1)
      if room.most < 1 and wait > 0 then room.cause, room.later = "rate", now + wait end
    end

    -- Takes a turn from the line, and with it up to `most` ids of the group, whose list has this length.
    function groups.take_hand(name, priority, first, length, most)
      local entry, room = priority .. name, groups.room(name, priority)
      local ids = take_ids(entry, first, length, math.min(room, most))
      if room > 0 and length > 0 and not ids[1] then
        -- The recorded length is too high, for example because the line had two turns of the group.
        length = 0
        collect_length(entry, 0)
      end
      if rooms[name] and room > 0 then rooms[name].most = room - #ids end
      local popped = first and ids[1] and #ids - 1 or #ids
      if popped > 0 then collect_length(entry, length - popped) end
      count(priority, 1 - #ids)
      return { name = name, ids = ids, left = length + (first and 1 or 0) - #ids, leased = 0 }
    end

    -- Holds the turn of an entry until then. Its list gets all ids.
    local function hold(entry, later)
      join(expiring, later, "=" .. entry)
      local first = redis.call("HGET", firsts, entry)
      if not first then return end
      redis.call("HDEL", firsts, entry)
      redis.call("ZADD", waiting, redis.call("LPUSH", list .. entry, first), entry)
    end

    -- After a turn was served: returns it if it goes back to the line; otherwise holds or drops it.
    function groups.settle_turn(hand, priority)
      use_room(hand.name, #hand.ids, hand.leased)
      if hand.left == 0 then return end
      local room, _, later = groups.room(hand.name, priority)
      if room > 0 then
        count(priority, -1)
        return "=" .. hand.name
      end
      hold(priority .. hand.name, later)
    end

    -- Returns a held turn to the line if the group may lease again; otherwise holds it until the next check.
    function groups.look_again(entry)
      local priority, name = sub(entry, 1, 1), sub(entry, 2)
      local size = groups.size(entry)
      if size == 0 then return leave(expiring, "=" .. entry) end
      local room, _, later = groups.room(name, priority)
      if room > 0 then
        leave(expiring, "=" .. entry)
        push_turn(priority, name, -1, math.min(room, size))
      else
        hold(entry, later)
      end
    end

    -- Deletes up to `most` ids of an entry and returns them, with whether its turn is no longer needed.
    function groups.drain(entry, most)
      local ids = take_ids(entry, redis.call("HGET", firsts, entry), redis.call("LLEN", list .. entry), most)
      count(sub(entry, 1, 1), -#ids)
      return ids, record_length(entry) == 0
    end

    -- An id was removed from the list of a group.
    function groups.withdrew(name, priority)
      count(priority, -1)
      record_length(priority .. name)
    end

    -- Removes an id from an entry if it is the first.
    function groups.withdraw_first(name, priority, id)
      if redis.call("HGET", firsts, priority .. name) ~= id then return end
      redis.call("HDEL", firsts, priority .. name)
      count(priority, -1)
    end

    function groups.return_turn(priority, name) push_turn(priority, name, -1, 0) end
    function groups.drop_turn(priority) count(priority, 1) end

    -- The held entries among the first `most` of `waiting`.
    function groups.held(most)
      local entries = redis.call("ZRANGE", waiting, 0, most - 1)
      local marks, found = {}, {}
      for i, entry in ipairs(entries) do marks[i] = "=" .. entry end
      for i, score in ipairs(scores_of(marks)) do
        if score then found[#found + 1] = entries[i] end
      end
      return found
    end

    -- The entries of a group, from priority 9.
    function groups.entries(name)
      local entries = {}
      for priority = 9, 0, -1 do entries[#entries + 1] = priority .. name end
      return entries
    end

    function groups.list(name, priority) return list .. priority .. name end

    -- How many ids an entry has.
    function groups.size(entry) return redis.call("LLEN", list .. entry) + redis.call("HEXISTS", firsts, entry) end

    -- The index of a task in its entry, if it is among the first `most`.
    function groups.position(name, priority, id, most)
      local first = redis.call("HGET", firsts, priority .. name)
      if first == id then return 0 end
      local index = redis.call("LPOS", list .. priority .. name, id, "MAXLEN", most)
      return index and index + (first and 1 or 0)
    end

    -- The rank of an entry by its backlog, and the list at a rank.
    function groups.rank(name, priority) return redis.call("ZREVRANK", waiting, priority .. name) end
    function groups.list_at(rank)
      local entry = redis.call("ZRANGE", waiting, rank, rank, "REV")[1]
      return entry and list .. entry
    end

    function groups.first(priority, name)
      local entry = priority .. name
      return redis.call("HGET", firsts, entry) or redis.call("LINDEX", list .. entry, 0) or ""
    end

    -- Looks at the held turns among the first `most` entries from this rank: their limits have changed. Returns how many
    -- entries it read.
    function groups.look_at_held(from, most)
      local entries = redis.call("ZRANGE", waiting, from, from + most - 1)
      for _, entry in ipairs(entries) do look_at(sub(entry, 2)) end
      return #entries
    end

    -- The overrides of one group, as JSON; false: none.
    function groups.read_override(name) return redis.call("HGET", overrides, name) end
    function groups.write_override(name, own)
      if next(own) then
        redis.call("HSET", overrides, name, cjson.encode(own))
      else
        redis.call("HDEL", overrides, name)
      end
      look_at(name)
    end

    -- How many tasks of a group wait, by priority.
    function groups.sizes(name)
      local entries, sizes = groups.entries(name), {}
      local ids = redis.call("HMGET", firsts, unpack(entries))
      for i, length in ipairs(redis.call("ZMSCORE", waiting, unpack(entries))) do
        sizes[10 - i] = tonumber(length or 0) + (ids[i] and 1 or 0)
      end
      return sizes
    end

    -- Entries by their lengths, as entry, length, ...: after the last one of the previous page, or from the first.
    function groups.entries_after(score, entry, most)
      local from = 0
      if entry ~= "" then
        -- Equal lengths are in descending order of the names.
        from = redis.call("ZCOUNT", waiting, "(" .. score, "+inf")
        local ties = redis.call("ZCOUNT", waiting, score, score)
        local low, high = from, from + ties
        while low < high do
          local middle = math.floor((low + high) / 2)
          if redis.call("ZRANGE", waiting, middle, middle, "REV")[1] >= entry then
            low = middle + 1
          else
            high = middle
          end
        end
        from = low
      end
      return redis.call("ZRANGE", waiting, from, from + most - 1, "REV", "WITHSCORES")
    end

    -- The first group after this one that has slots; nil if there is none.
    function groups.next_busy(name)
      local from = name == "" and "-" or "(" .. name .. "\11"
      local found = redis.call("ZRANGE", busy, from, "+", "BYLEX", "LIMIT", 0, 1)[1]
      return found and match(found, "^(.*)\n")
    end

    -- The fields and values of a hash at a cursor of HSCAN, and the next cursor. They are one bucket of the hash: HSCAN fills a
    -- larger batch with other buckets when entries have left, and a page would take these for entries that were listed before.
    local function read_from(hash, cursor)
      local next_cursor, found = unpack(redis.call("HSCAN", hash, cursor, "COUNT", 1))
      local fields, values = {}, {}
      for i = 1, #found, 2 do fields[#fields + 1], values[#values + 1] = found[i], found[i + 1] end
      return fields, values, next_cursor
    end

    -- Groups with overrides.
    function groups.overridden(cursor) return read_from(overrides, cursor) end

    -- Entries with a first id, and these ids.
    function groups.with_first(cursor) return read_from(firsts, cursor) end

    -- How many tasks of a group wait.
    function groups.waiting(name)
      local sum = 0
      for _, size in pairs(groups.sizes(name)) do sum = sum + size end
      return sum
    end

    -- Writes new ids of an entry and its turn, unless it has none before and gets one id only. added: collects first ids.
    function groups.write_list(entry, first, length, head, tail, added)
      local priority, new = sub(entry, 1, 1), #head + #tail
      if not first and not length then
        added[#added + 1], added[#added + 2] = entry, table.remove(head[1] and head or tail, 1)
        push_turn(priority, sub(entry, 2), new - 1, new)
      else
        -- A held turn returns when the hold is over.
        local is_held = length and groups.are_limited() and redis.call("ZSCORE", expiring, "=" .. entry)
        if not is_held then became_ready = became_ready + new end
        count(priority, new)
      end
      if first and head[1] then
        head[#head + 1] = first
        redis.call("HDEL", firsts, entry)
      end
      local new_length = head[1] and in_chunks("LPUSH", reversed(head), list .. entry)
      new_length = in_chunks("RPUSH", tail, list .. entry) or new_length
      if new_length then collect_length(entry, new_length) end
    end

    -- Gives the turns of groups that may have become free to the line. Runs after the writes that freed them.
    function groups.look_at_freed()
      for _, name in ipairs(freed) do
        local entries, marks = groups.entries(name), {}
        for i, entry in ipairs(entries) do marks[i] = "=" .. entry end
        for i, score in ipairs(scores_of(marks)) do
          if score then groups.look_again(entries[i]) end
        end
      end
      for set, ids in pairs(left) do in_chunks("ZREM", ids, set) end
      for set, values in pairs(joined) do in_chunks("ZADD", values, set) end
    end

    -- For the audit: how many ids an entry has, the length of its list, its recorded length, and whether its turn is held.
    function groups.facts(entry)
      local length, recorded = redis.call("LLEN", list .. entry), tonumber(redis.call("ZSCORE", waiting, entry) or 0)
      return groups.size(entry), length, recorded, redis.call("ZSCORE", expiring, "=" .. entry) and true
    end

    groups.correct_length = record_length

    -- Whether a task in this state, though not leased, may have a slot.
    function groups.may_keep_slot(name, state)
      if not groups.is_strict(name) then return false end
      return state == "queued" or state == "retrying" or state == "dead" and groups.limits(name).on_dead == "block"
    end

    -- By how much the recorded counts of each priority are too low; empty above `most` entries.
    function groups.wrong_counts(most)
      local wrong = {}
      if redis.call("ZCARD", waiting) + redis.call("HLEN", firsts) > most then return wrong end
      local entries, marks = redis.call("ZRANGE", waiting, 0, -1, "WITHSCORES"), {}
      for i = 1, #entries, 2 do marks[#marks + 1] = "=" .. entries[i] end
      local held, right = scores_of(marks), {}
      for i = 1, #entries, 2 do
        local priority = sub(entries[i], 1, 1)
        right[priority] = (right[priority] or 0) + entries[i + 1] - (held[(i + 1) / 2] and 0 or 1)
      end
      -- An entry that is only in `firsts` has one task and one turn.
      for _, entry in ipairs(redis.call("HKEYS", firsts)) do
        local priority = sub(entry, 1, 1)
        if redis.call("ZSCORE", waiting, entry) then right[priority] = (right[priority] or 0) + 1 end
      end
      for priority = 0, 9 do
        local difference = (right[tostring(priority)] or 0) - grouped_in(priority)
        if difference ~= 0 then wrong[tostring(priority)] = difference end
      end
      return wrong
    end
  end

  return setmetatable(groups, {
    __index = function(_, name)
      setmetatable(groups, nil)
      define_rest()
      return groups[name]
    end,
  })
end

/* A target's memory as its core sees it: which fetches, loads and stores must wait, and until when a memory is busy with
 * a line. Times are in ticks, PER_CYCLE of them a cycle. Kept in step with the Python class MemorySystem in memory.py, which
 * explains the terms; the two must count the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    FETCH, FETCH_NEXT, READ, READ_NEXT, WRITE, WRITE_BACK, READS, WRITES, UNALIGNED_READS, UNALIGNED_WRITES, BUSY, EVENTS
};
enum { PER_CYCLE = 16, BEAT = 8, REGION = 6 + EVENTS };
enum { LRU, RANDOM };
enum { AT_ONCE = -1, EVERY = -2 }; /* in place of a cache: never waits; always waits */

typedef struct {
    uint32_t line, sector, sets, ways, policy, allocate; /* bytes; allocate: a store that misses brings the line in */
    uint32_t *tags, *used;                               /* set-major; tags are addresses of lines, odd is empty */
    uint8_t *valid, *dirty;                              /* sectors of a line, as bits */
    uint32_t clock, seed, recent, next;                  /* recent: the sector of the last hit; next: after a miss */
} cache;

/* A line on its way from a memory: the word asked for comes at `first`, the last one at `end`; the next line is not asked
 * for before `free`. */
typedef struct {
    uint64_t first, end, free;
    uint32_t word; /* address / BEAT of what was asked for */
} fill;

typedef struct {
    uint32_t start, end;
    int32_t fetch, data;   /* caches */
    uint32_t rest, busy;   /* ticks from a line's first word to its last, and until the next line may be asked for */
    uint32_t cost[EVENTS]; /* ticks */
    fill fills[2];         /* of instructions, of data */
} region;

typedef struct {
    region *regions;
    cache *caches;
    uint32_t region_count, cache_count, last;
    uint64_t now; /* ticks, without those that `wait` is given of the block executed */
} memory;

static void memory_free(memory *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; m->caches && i < m->cache_count; i++) {
        free(m->caches[i].tags);
        free(m->caches[i].used);
        free(m->caches[i].valid);
        free(m->caches[i].dirty);
    }
    free(m->caches);
    free(m->regions);
    free(m);
}

/* regions: as in the structure, without fills. caches: line, sector, sets, ways, policy, allocate. */
static memory *memory_new(const uint32_t *regions, uint32_t region_count, const uint32_t *caches, uint32_t cache_count)
{
    memory *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->regions = calloc(region_count + 1, sizeof(region));
    m->caches = calloc(cache_count + 1, sizeof(cache));
    if (!m->regions || !m->caches) {
        memory_free(m);
        return NULL;
    }
    m->region_count = region_count;
    m->cache_count = cache_count;
    for (uint32_t i = 0; i < region_count; i++)
        memcpy(&m->regions[i], regions + REGION * i, REGION * sizeof(uint32_t));
    for (uint32_t i = 0; i < cache_count; i++) {
        cache *c = &m->caches[i];
        memcpy(c, caches + 6 * i, 6 * sizeof(uint32_t));
        const uint32_t lines = c->sets * c->ways;
        c->tags = malloc(lines * sizeof(uint32_t));
        c->used = calloc(lines, sizeof(uint32_t));
        c->valid = calloc(lines, 1);
        c->dirty = calloc(lines, 1);
        if (!c->tags || !c->used || !c->valid || !c->dirty) {
            memory_free(m);
            return NULL;
        }
        memset(c->tags, 0xFF, lines * sizeof(uint32_t));
        c->seed = 1;
        c->recent = c->next = 1;
    }
    return m;
}

static uint32_t region_of(memory *m, uint32_t address)
{
    const region *r = &m->regions[m->last];

    if (address >= r->start && address < r->end)
        return m->last;
    for (uint32_t i = 0; i < m->region_count; i++)
        if (address >= m->regions[i].start && address < m->regions[i].end)
            return m->last = i;
    return UINT32_MAX;
}

static uint32_t victim(cache *c, uint32_t first)
{
    for (uint32_t way = 0; way < c->ways; way++)
        if (c->tags[first + way] & 1)
            return first + way;
    if (c->policy == RANDOM) {
        c->seed = c->seed * 1103515245u + 12345u;
        return first + (c->seed >> 16) % c->ways;
    }
    uint32_t oldest = first;
    for (uint32_t way = 1; way < c->ways; way++)
        if (c->used[first + way] < c->used[oldest])
            oldest = first + way;
    return oldest;
}

static void spend(memory *m, const region *r, uint64_t *events, int event)
{
    events[event]++;
    m->now += r->cost[event];
}

static void wait_until(memory *m, uint64_t time, uint64_t *events)
{
    if (time > m->now) {
        events[BUSY] += time - m->now;
        m->now = time;
    }
}

/* A line is asked for, `after` ticks of the block or when the memory is free. A store goes on meanwhile. */
static void begin_fill(memory *m, region *r, fill *f, uint32_t address, uint32_t after, uint64_t *events, int miss)
{
    if (r->busy && f->free > after)
        wait_until(m, f->free - after, events);
    spend(m, r, events, miss);
    f->first = m->now + after + (miss == WRITE ? r->cost[READ] : 0);
    f->end = f->first + r->rest;
    f->free = f->first + r->busy;
    f->word = address / BEAT;
}

/* Other words of a line on its way come in turn, from the one that was asked for and round. */
static void await_word(memory *m, const cache *c, const fill *f, uint32_t address, uint32_t after, uint64_t *events)
{
    const uint32_t beats = c->sector / BEAT, place = address / BEAT - f->word;

    if (f->end <= m->now + after || beats < 2 || (address / BEAT ^ f->word) >= beats)
        return;
    const uint64_t there = f->first + (f->end - f->first) * (place & (beats - 1)) / (beats - 1);
    if (there > after)
        wait_until(m, there - after, events);
}

/* Looks a sector up; counts a miss as `miss`, or as `miss` + 1 where it follows the one before (not for stores). */
static void look_up(memory *m, region *r, cache *c, uint32_t address, int store, uint32_t after, uint64_t *events,
                    int miss)
{
    const uint32_t sector = address & ~(c->sector - 1);
    fill *f = &r->fills[miss != FETCH];
    if (sector == c->recent && !store) {
        await_word(m, c, f, address, after, events);
        return;
    }
    const uint32_t tag = address & ~(c->line - 1);
    const uint32_t first = (tag / c->line % c->sets) * c->ways;
    const uint8_t bit = (uint8_t)(1u << (address - tag) / c->sector);
    uint32_t at = UINT32_MAX;

    for (uint32_t way = 0; way < c->ways; way++)
        if (c->tags[first + way] == tag)
            at = first + way;
    c->clock++;
    if (at != UINT32_MAX && (c->valid[at] & bit)) {
        c->used[at] = c->clock;
        c->recent = sector;
        if (store && c->allocate)
            c->dirty[at] = 1;
        if (!store)
            await_word(m, c, f, address, after, events);
        return;
    }
    if (store && !c->allocate) {
        spend(m, r, events, WRITE);
        return;
    }
    begin_fill(m, r, f, address, after, events, store ? WRITE : miss + (sector == c->next));
    c->next = sector + c->sector;
    if (at == UINT32_MAX) {
        at = victim(c, first);
        if (c->dirty[at])
            spend(m, r, events, WRITE_BACK);
        c->tags[at] = tag;
        c->valid[at] = c->dirty[at] = 0;
    }
    c->valid[at] |= bit;
    c->used[at] = c->clock;
    c->recent = sector;
    if (store)
        c->dirty[at] = 1;
}

/* Instructions from address on are fetched, evenly over `ticks`. events: EVENTS for each region. */
static void memory_fetch(memory *m, uint32_t address, uint32_t bytes, uint32_t ticks, uint64_t *events)
{
    const uint32_t index = region_of(m, address);

    if (index == UINT32_MAX || m->regions[index].fetch == AT_ONCE)
        return;
    region *r = &m->regions[index];
    uint64_t *e = events + EVENTS * index;
    if (r->fetch == EVERY) {
        spend(m, r, e, FETCH);
        return;
    }
    cache *c = &m->caches[r->fetch];
    for (uint32_t at = address & ~(c->sector - 1); at < address + bytes; at += c->sector) {
        const uint32_t from = at < address ? address : at;
        look_up(m, r, c, from, 0, (uint32_t)((uint64_t)ticks * (from - address) / bytes), e, FETCH);
    }
}

/* A load or a store, `after` ticks of its block. */
static void memory_access(memory *m, uint32_t address, uint32_t bytes, int store, uint32_t after, uint64_t *events)
{
    const uint32_t index = region_of(m, address);

    if (index == UINT32_MAX)
        return;
    region *r = &m->regions[index];
    uint64_t *e = events + EVENTS * index;
    spend(m, r, e, READS + store);
    if (address & (bytes - 1))
        spend(m, r, e, UNALIGNED_READS + store);
    if (r->data == EVERY)
        spend(m, r, e, store ? WRITE : READ);
    if (r->data < 0)
        return;
    cache *c = &m->caches[r->data];
    look_up(m, r, c, address, store, after, e, READ);
    if (((address + bytes - 1) ^ address) & ~(c->sector - 1))
        look_up(m, r, c, address + bytes - 1, store, after, e, READ);
}

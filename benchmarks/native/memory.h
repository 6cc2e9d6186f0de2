/* A target's memory as its core sees it: which fetches, loads and stores must wait. Kept in step with the Python class
 * MemorySystem in memory.py, which explains the terms; the two must count the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FETCH, FETCH_NEXT, READ, READ_NEXT, WRITE, WRITE_BACK, READS, WRITES, UNALIGNED_READS, UNALIGNED_WRITES, EVENTS };
enum { LRU, RANDOM };
enum { AT_ONCE = -1, EVERY = -2 }; /* in place of a cache: never waits; always waits */

typedef struct {
    uint32_t line, sector, sets, ways, policy, allocate; /* bytes; allocate: a store that misses brings the line in */
    uint32_t *tags, *used;                               /* set-major; tags are addresses of lines, odd is empty */
    uint8_t *valid, *dirty;                              /* sectors of a line, as bits */
    uint32_t clock, seed, recent, next;                  /* recent: the sector of the last hit; next: after a miss */
} cache;

typedef struct {
    uint32_t start, end;
    int32_t fetch, data; /* caches */
} region;

typedef struct {
    region *regions;
    cache *caches;
    uint32_t region_count, cache_count, last;
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

/* regions: start, end, fetch, data. caches: line, sector, sets, ways, policy, allocate. */
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
    memcpy(m->regions, regions, region_count * sizeof(region));
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

/* Looks a sector up; counts a miss as `miss`, or as `miss` + 1 where it follows the one before (not for stores). */
static void look_up(cache *c, uint32_t address, int store, uint64_t *events, int miss)
{
    const uint32_t sector = address & ~(c->sector - 1);
    if (sector == c->recent && !store)
        return;
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
        return;
    }
    if (store) {
        events[WRITE]++;
        if (!c->allocate)
            return;
    } else {
        events[miss + (sector == c->next)]++;
    }
    c->next = sector + c->sector;
    if (at == UINT32_MAX) {
        at = victim(c, first);
        if (c->dirty[at])
            events[WRITE_BACK]++;
        c->tags[at] = tag;
        c->valid[at] = c->dirty[at] = 0;
    }
    c->valid[at] |= bit;
    c->used[at] = c->clock;
    c->recent = sector;
    if (store)
        c->dirty[at] = 1;
}

/* Instructions from address on are fetched. events: EVENTS for each region. */
static void memory_fetch(memory *m, uint32_t address, uint32_t bytes, uint64_t *events)
{
    const uint32_t index = region_of(m, address);

    if (index == UINT32_MAX || m->regions[index].fetch == AT_ONCE)
        return;
    if (m->regions[index].fetch == EVERY) {
        events[EVENTS * index + FETCH]++;
        return;
    }
    cache *c = &m->caches[m->regions[index].fetch];
    for (uint32_t at = address & ~(c->sector - 1); at < address + bytes; at += c->sector)
        look_up(c, at, 0, events + EVENTS * index, FETCH);
}

static void memory_access(memory *m, uint32_t address, uint32_t bytes, int store, uint64_t *events)
{
    const uint32_t index = region_of(m, address);

    if (index == UINT32_MAX)
        return;
    uint64_t *e = events + EVENTS * index;
    e[READS + store]++;
    if (address & (bytes - 1))
        e[UNALIGNED_READS + store]++;
    const int32_t number = m->regions[index].data;
    if (number == EVERY)
        e[store ? WRITE : READ]++;
    if (number < 0)
        return;
    cache *c = &m->caches[number];
    look_up(c, address, store, e, READ);
    if (((address + bytes - 1) ^ address) & ~(c->sector - 1))
        look_up(c, address + bytes - 1, store, e, READ);
}

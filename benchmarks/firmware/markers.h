#ifndef NDTOOL_MARKERS_H
#define NDTOOL_MARKERS_H

__attribute__((noinline)) void ndtool_start(void);
__attribute__((noinline)) void ndtool_stop(void);

#endif

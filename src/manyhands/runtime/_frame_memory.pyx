# cython: language_level=3, freethreading_compatible=True
"""Keeps the frame memory of workers that have ended: see `compiled`.

It needs no interpreter lock, and says so: an interpreter without that lock would take it back on import
(docs.python.org/3/howto/free-threading-extensions.html). What threads share is guarded by a lock of its own
that no thread waits for, or written before any thread can come by.
"""

cdef extern from "Python.h":
    ctypedef struct PyObjectArenaAllocator:
        void* ctx
        void* (*alloc)(void* ctx, size_t size) noexcept nogil
        void (*free)(void* ctx, void* memory, size_t size) noexcept nogil
    void PyObject_GetArenaAllocator(PyObjectArenaAllocator* allocator)
    void PyObject_SetArenaAllocator(PyObjectArenaAllocator* allocator)

cdef extern from *:
    """
    /* Interpreters with a lock each, and threads without one, share the allocator. One that meets another one
       here does without. (So does a process that was forked meanwhile, for ever.) */
    static char is_taken, is_keeping;
    #define take() (!__atomic_test_and_set(&is_taken, __ATOMIC_ACQUIRE))
    #define give_back() __atomic_clear(&is_taken, __ATOMIC_RELEASE)
    /* A guess, by which the lock is spared; read without the lock, and so as a whole. */
    #define about(number) __atomic_load_n(&(number), __ATOMIC_RELAXED)
    #define set_number(number, value) __atomic_store_n(&(number), value, __ATOMIC_RELAXED)
    #define was_first() (!__atomic_test_and_set(&is_keeping, __ATOMIC_ACQ_REL))
    /* What was written before it is there for the threads that see what is written after it. */
    #define publish() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define see_published() __atomic_thread_fence(__ATOMIC_ACQUIRE)
    """
    bint take() nogil
    void give_back() nogil
    int about(int number) nogil
    void set_number(int number, int value) nogil
    bint was_first() nogil
    void publish() nogil
    void see_published() nogil

DEF CHUNK = 16 * 1024
DEF AT_MOST = 256

cdef PyObjectArenaAllocator usual
cdef void* kept[AT_MOST]
cdef int count = 0


cdef void* allocate(void* ctx, size_t size) noexcept nogil:
    cdef void* memory = NULL
    if size == CHUNK and about(count) and take():
        if count:
            set_number(count, count - 1)
            memory = kept[count]
        give_back()
    if memory is not NULL:
        return memory
    see_published()
    return usual.alloc(usual.ctx, size)


cdef void release(void* ctx, void* memory, size_t size) noexcept nogil:
    cdef bint is_kept = False
    if size == CHUNK and about(count) < AT_MOST and take():
        if count < AT_MOST:
            kept[count] = memory
            set_number(count, count + 1)
            is_kept = True
        give_back()
    if not is_kept:
        see_published()
        usual.free(usual.ctx, memory, size)


def keep():
    """Keep the frame memory of threads and fibers that end from now on, for the next ones."""
    cdef PyObjectArenaAllocator ours
    # A second one would take ours for the usual one, and call itself for ever.
    if not was_first():
        return
    PyObject_GetArenaAllocator(&usual)
    ours.ctx = NULL
    ours.alloc = allocate
    ours.free = release
    publish()
    PyObject_SetArenaAllocator(&ours)


def kept_chunks():
    """Return how many pieces are kept at the moment."""
    return about(count)

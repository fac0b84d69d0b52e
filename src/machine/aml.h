#ifndef HUSK_MACHINE_AML_H
#define HUSK_MACHINE_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Writer of ACPI machine language (ACPI 6.5, 20). What nests is opened by a
 * function that returns a mark and closed by aml_end with that mark; the
 * length in between is filled in then. An overflow of the buffer is
 * remembered, and nothing more is written: look at failed once, at the end.
 */
struct aml {
    uint8_t *buf; /* borrowed */
    size_t len, cap;
    bool failed;
};

void aml_init(struct aml *a, void *buf, size_t cap);

/* name: 4 characters, or \name for a path from the root. */
size_t aml_scope(struct aml *a, const char *name);
size_t aml_device(struct aml *a, const char *name);
size_t aml_method(struct aml *a, const char *name, unsigned args);
size_t aml_package(struct aml *a, unsigned nr);
/* If (name) { ... } */
size_t aml_if(struct aml *a, const char *name);
/* Buffer of resource descriptors (ACPI 6.5, 6.4); aml_res_end closes. */
size_t aml_resources(struct aml *a);
void aml_res_end(struct aml *a, size_t mark);
void aml_end(struct aml *a, size_t mark);

/* Name (name, <the next term>) */
void aml_name(struct aml *a, const char *name);
void aml_int(struct aml *a, uint64_t val);
void aml_string(struct aml *a, const char *s);
/* EISA id, such as "PNP0A03", as the number that stands for it. */
void aml_eisaid(struct aml *a, const char *id);
void aml_return(struct aml *a);
/* A reference to name, as a term. */
void aml_ref(struct aml *a, const char *name);
/* name = ArgN */
void aml_store_arg(struct aml *a, unsigned arg, const char *name);

/* Resources; ranges are [first, last]. */
void aml_res_io(struct aml *a, uint16_t base, uint8_t len);
void aml_res_irq(struct aml *a, unsigned irq);
void aml_res_memory(struct aml *a, uint32_t base, uint32_t len);
void aml_res_bus_range(struct aml *a, uint16_t first, uint16_t last);
void aml_res_io_range(struct aml *a, uint16_t first, uint16_t last);
void aml_res_memory_range(struct aml *a, uint32_t first, uint32_t last,
                          bool cacheable);
void aml_res_memory64_range(struct aml *a, uint64_t first, uint64_t last);

#endif

/* Real libraries: zlib, liblzma, zstd, SQLite, OpenSSL libcrypto. */
#include "harness.h"
#include <lzma.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define TEXT (16u << 20)
static char *text, *out;
static size_t out_len;

static void text_setup(void)
{
    text = big_alloc(TEXT);
    out = big_alloc(2u << 20);
    gen_text(text, TEXT);
}
static const char *slice(size_t len) /* successive slices of the 16 MiB text */
{
    static size_t at;
    const char *p = text + at;
    at = at + 2 * len > TEXT ? 0 : at + len;
    return p;
}

static void gzip_run(long n) /* 256 KiB, level 1 */
{
    for (long i = 0; i < n; i++) {
        uLongf len = 2u << 20;
        if (compress2((Bytef *)out, &len, (const Bytef *)slice(256u << 10),
                      256u << 10, 1))
            die("zlib");
        sink += len;
    }
}
static void gunzip_setup(void)
{
    text_setup();
    uLongf len = 2u << 20;
    compress2((Bytef *)out, &len, (const Bytef *)text, 256u << 10, 6);
    out_len = len;
}
static void gunzip_run(long n)
{
    for (long i = 0; i < n; i++) {
        uLongf len = 256u << 10;
        if (uncompress((Bytef *)text, &len, (const Bytef *)out, out_len))
            die("zlib");
        sink += len + (unsigned char)text[1000];
    }
}
static void xz_run(long n) /* 64 KiB, preset 3 */
{
    for (long i = 0; i < n; i++) {
        size_t pos = 0;
        if (lzma_easy_buffer_encode(3, LZMA_CHECK_CRC32, NULL,
                                    (const uint8_t *)slice(64u << 10),
                                    64u << 10, (uint8_t *)out, &pos, 2u << 20))
            die("lzma");
        sink += pos;
    }
}
static ZSTD_CCtx *zc;
static void zstd_setup(void)
{
    text_setup();
    zc = ZSTD_createCCtx();
}
static void zstd_run(long n) /* 256 KiB, level 3 */
{
    for (long i = 0; i < n; i++)
        sink += ZSTD_compressCCtx(zc, out, 2u << 20, slice(256u << 10),
                                  256u << 10, 3);
}

static sqlite3 *db;
static sqlite3_stmt *ins, *sel;
static void sql(const char *s)
{
    if (sqlite3_exec(db, s, 0, 0, 0))
        die(sqlite3_errmsg(db));
}
static void sql_setup(void)
{
    if (sqlite3_open(":memory:", &db))
        die("sqlite3_open");
    sql("CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, name TEXT, v REAL); "
        "CREATE INDEX ik ON t(k);");
    if (sqlite3_prepare_v2(
            db, "INSERT INTO t(k,name,v) VALUES(?1, 'row' || ?1, ?1*0.5)", -1,
            &ins, 0))
        die("prepare");
    if (sqlite3_prepare_v2(db,
                           "SELECT count(*), sum(v), max(name) FROM t WHERE k "
                           "BETWEEN ?1 AND ?1+50",
                           -1, &sel, 0))
        die("prepare");
}
static uint64_t sql_seed = 31;
static void
sql_insert(long n) /* a transaction of 100 rows; 20000 rows kept at most */
{
    static long rows;
    for (long i = 0; i < n; i++) {
        sql("BEGIN");
        for (int j = 0; j < 100; j++) {
            sqlite3_bind_int64(ins, 1, (sqlite3_int64)(rng(&sql_seed) % 10000));
            if (sqlite3_step(ins) != SQLITE_DONE)
                die("insert");
            sqlite3_reset(ins);
        }
        sql("COMMIT");
        if ((rows += 100) >= 20000) {
            sql("DELETE FROM t");
            rows = 0;
        }
    }
    sink += (uint64_t)sqlite3_last_insert_rowid(db);
}
static void sql_select_setup(void)
{
    sql_setup();
    sql_insert(50);
}
static void sql_select(long n)
{
    for (long i = 0; i < n; i++) {
        sqlite3_bind_int64(sel, 1, (sqlite3_int64)(rng(&sql_seed) % 10000));
        if (sqlite3_step(sel) != SQLITE_ROW)
            die("select");
        sink += (uint64_t)sqlite3_column_int(sel, 0) +
                (uint64_t)sqlite3_column_double(sel, 1);
        sqlite3_reset(sel);
    }
}

static unsigned char cbuf[16384 + 64],
    key[32] = "0123456789abcdef0123456789abcde";
static void digest(long n, const EVP_MD *md)
{
    unsigned char d[64];
    unsigned len;
    for (long i = 0; i < n; i++) {
        cbuf[0] = (unsigned char)i;
        EVP_Digest(cbuf, 16384, d, &len, md, NULL);
        sink += d[0];
    }
}
static void sha256_run(long n)
{
    digest(n, EVP_sha256());
}
static void md5_run(long n)
{
    digest(n, EVP_md5());
}
static void cipher(long n, const EVP_CIPHER *c)
{
    static unsigned char o[16384 + 64];
    EVP_CIPHER_CTX *x = EVP_CIPHER_CTX_new();
    int len;
    EVP_EncryptInit_ex(x, c, NULL, key, key);
    for (long i = 0; i < n; i++) {
        EVP_EncryptUpdate(x, o, &len, cbuf, 16384);
        sink += o[77];
    }
    EVP_CIPHER_CTX_free(x);
}
static void aes_run(long n)
{
    cipher(n, EVP_aes_128_cbc());
}
static void gcm_run(long n)
{
    cipher(n, EVP_aes_128_gcm());
}
static void chacha_run(long n)
{
    cipher(n, EVP_chacha20());
}

#define M256K (262144e-6)
const struct test lib_tests[] = {
    {"comp_gzip1", "comp", "MB/s", M256K, gzip_run, text_setup, 1, 0},
    {"comp_gunzip", "comp", "MB/s", M256K, gunzip_run, gunzip_setup, 1, 0},
    {"comp_xz3", "comp", "MB/s", M256K / 4, xz_run, text_setup, 1, 0},
    {"comp_zstd3", "comp", "MB/s", M256K, zstd_run, zstd_setup, 1, 0},
    {"db_insert", "db", "krow/s", 0.1, sql_insert, sql_setup, 5, 0},
    {"db_select", "db", "kquery/s", 1e-3, sql_select, sql_select_setup, 20, 0},
    {"ssl_sha256", "crypto", "MB/s", 16384e-6, sha256_run, 0, 3, 0},
    {"ssl_md5", "crypto", "MB/s", 16384e-6, md5_run, 0, 3, 0},
    {"ssl_aes128cbc", "crypto", "MB/s", 16384e-6, aes_run, 0, 3, 0},
    {"ssl_aes128gcm", "crypto", "MB/s", 16384e-6, gcm_run, 0, 3, 0},
    {"ssl_chacha20", "crypto", "MB/s", 16384e-6, chacha_run, 0, 3, 0},
    {0}};

/* numeric on the wire and decimal128 or decimal256.
 *
 * numeric_send writes int16 ndigits, int16 weight, uint16 sign, int16 dscale, then ndigits groups of four decimal
 * digits. The value is the sum of group[i] * 10000 ** (weight - i); dscale only says how many digits to show.
 */
#include "_wire.h"

enum { SIGN_POSITIVE = 0x0000, SIGN_NEGATIVE = 0x4000, SIGN_NAN = 0xC000, SIGN_PINF = 0xD000, SIGN_NINF = 0xF000 };

#define U128_MAX (~(u128)0)

static const unsigned powers[] = {1, 10, 100, 1000, 10000};

static u128 power_of_ten(int exponent)   /* at most 38 */
{
    u128 power = 1;
    for (; exponent >= 4; exponent -= 4)
        power *= 10000;
    return power * powers[exponent];
}

/* ---- unsigned numbers of 256 bits, the lowest limb first ---------------------------------------------------- */

typedef struct {
    uint64_t limbs[4];
} u256;

/* number = number * factor + term; false when that needs more than 256 bits. */
static bool multiply_add(u256 *number, unsigned factor, unsigned term)
{
    uint64_t carry = term;
    for (int i = 0; i < 4; i++) {
        const u128 product = (u128)number->limbs[i] * factor + carry;
        number->limbs[i] = (uint64_t)product;
        carry = (uint64_t)(product >> 64);
    }
    return carry == 0;
}

/* number = number / divisor; returns the rest. */
static unsigned divide(u256 *number, unsigned divisor)
{
    uint64_t rest = 0;
    for (int i = 3; i >= 0; i--) {
        const u128 part = (u128)rest << 64 | number->limbs[i];
        number->limbs[i] = (uint64_t)(part / divisor);
        rest = (uint64_t)(part % divisor);
    }
    return (unsigned)rest;
}

static bool is_less(const u256 *left, const u256 *right)
{
    for (int i = 3; i >= 0; i--)
        if (left->limbs[i] != right->limbs[i])
            return left->limbs[i] < right->limbs[i];
    return false;
}

/* Two's complement: the negative number with this magnitude, or the magnitude of this negative number. */
static void negate(u256 *number)
{
    uint64_t carry = 1;
    for (int i = 0; i < 4; i++) {
        number->limbs[i] = ~number->limbs[i] + carry;
        carry = carry != 0 && number->limbs[i] == 0;
    }
}

/* Arrow keeps decimals in the byte order of the machine, the lowest limb first on a little-endian one. */
static void swap_limbs(u256 *number)
{
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    *number = (u256){{number->limbs[3], number->limbs[2], number->limbs[1], number->limbs[0]}};
#else
    (void)number;
#endif
}

/* ---- decoding ---------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *groups;
    int count, weight, sign;
} Numeric;

static bool too_large(const WireDecimal *decimal, WireFault *fault)
{
    return wire_fault(fault, "numeric value does not fit decimal(%d, %d)", decimal->precision, decimal->scale);
}

static bool read_numeric(Numeric *numeric, const uint8_t *p, int32_t size, WireFault *fault)
{
    if (size < 8)
        return wire_fault(fault, "numeric has %d bytes; at least 8 are needed", (int)size);
    *numeric = (Numeric){p + 8, (int16_t)wire_get16(p), (int16_t)wire_get16(p + 2), wire_get16(p + 4)};
    if (numeric->count < 0 || size != 8 + 2 * numeric->count)
        return wire_fault(fault, "numeric has %d bytes for %d groups of digits", (int)size, numeric->count);
    return true;
}

/* Read from the group at `p` the digits that the scale keeps, and how many these are. `exponent` is the power of ten of
 * the group's last digit, counted from the last digit kept: below zero there are digits beyond, which must be zeros. */
static bool read_group(const WireDecimal *decimal, const uint8_t *p, int exponent, unsigned *kept, int *digits,
                       WireFault *fault)
{
    const unsigned group = wire_get16(p);
    const int beyond = exponent >= 0 ? 0 : exponent > -4 ? -exponent : 4;
    if (group > 9999)
        return wire_fault(fault, "numeric has the group %u; a group is at most 9999", group);
    if (group % powers[beyond] != 0)
        return wire_fault(fault, "numeric value has more than %d digits after the point", decimal->scale);
    *kept = group / powers[beyond];
    *digits = 4 - beyond;
    return true;
}

static bool decode_narrow(const WireDecimal *decimal, const Numeric *numeric, void *slot, WireFault *fault)
{
    static const u128 most[] = {   /* the largest sum that may be multiplied by the power of the same index */
        U128_MAX - 9999, (U128_MAX - 9999) / 10, (U128_MAX - 9999) / 100, (U128_MAX - 9999) / 1000,
        (U128_MAX - 9999) / 10000,
    };
    u128 sum = 0;
    int exponent = 4 * numeric->weight + decimal->scale, digits = 0;
    unsigned kept = 0;
    for (int i = 0; i < numeric->count; i++, exponent -= 4) {
        if (!read_group(decimal, numeric->groups + 2 * i, exponent, &kept, &digits, fault))
            return false;
        if (sum > most[digits])
            return too_large(decimal, fault);
        sum = sum * powers[digits] + kept;
    }
    exponent += 4;   /* of the last group */
    if (exponent > 0 && sum != 0) {
        if (exponent > 38 || sum > U128_MAX / power_of_ten(exponent))
            return too_large(decimal, fault);
        sum *= power_of_ten(exponent);
    }
    if (sum >= decimal->limit)
        return too_large(decimal, fault);
    const i128 value = numeric->sign == SIGN_NEGATIVE ? -(i128)sum : (i128)sum;
    memcpy(slot, &value, sizeof value);
    return true;
}

static bool decode_wide(const WireDecimal *decimal, const Numeric *numeric, void *slot, WireFault *fault)
{
    u256 sum = {0}, limit = {{1}};
    int exponent = 4 * numeric->weight + decimal->scale, digits = 0;
    unsigned kept = 0;
    bool is_zero = true;
    for (int i = 0; i < numeric->count; i++, exponent -= 4) {
        if (!read_group(decimal, numeric->groups + 2 * i, exponent, &kept, &digits, fault))
            return false;
        if (!multiply_add(&sum, powers[digits], kept))
            return too_large(decimal, fault);
        is_zero = is_zero && kept == 0;
    }
    for (exponent += 4; exponent > 0 && !is_zero; exponent -= 4)
        if (!multiply_add(&sum, powers[exponent < 4 ? exponent : 4], 0))
            return too_large(decimal, fault);
    for (int left = decimal->precision; left > 0; left -= 4)
        multiply_add(&limit, powers[left < 4 ? left : 4], 0);
    if (!is_less(&sum, &limit))
        return too_large(decimal, fault);
    if (numeric->sign == SIGN_NEGATIVE)
        negate(&sum);
    swap_limbs(&sum);
    memcpy(slot, &sum, sizeof sum);
    return true;
}

WireDecimal wire_decimal(int precision, int scale)
{
    return (WireDecimal){precision, scale, precision <= WIRE_NARROW_DIGITS ? power_of_ten(precision) : 0};
}

bool wire_decode_numeric(const WireDecimal *decimal, const uint8_t *p, int32_t size, void *slot, bool *special,
                         WireFault *fault)
{
    Numeric numeric = {0};
    if (!read_numeric(&numeric, p, size, fault))
        return false;
    *special = numeric.sign == SIGN_NAN || numeric.sign == SIGN_PINF || numeric.sign == SIGN_NINF;
    if (*special)
        return true;
    if (numeric.sign != SIGN_POSITIVE && numeric.sign != SIGN_NEGATIVE)
        return wire_fault(fault, "numeric has the unknown sign 0x%04x", (unsigned)numeric.sign);
    return decimal->precision <= WIRE_NARROW_DIGITS ? decode_narrow(decimal, &numeric, slot, fault)
                                                    : decode_wide(decimal, &numeric, slot, fault);
}

/* ---- encoding ---------------------------------------------------------------------------------------------- */

enum { MAX_GROUPS = 21 };   /* 78 digits, the most of 256 bits, with a group that the point cuts */

/* Groups of a whole number, the least significant first. */
static int split_whole(u128 number, uint16_t *groups)
{
    int count = 0;
    while (number > UINT64_MAX) {   /* 128-bit division is slow: four groups at a time */
        uint64_t low = (uint64_t)(number % UINT64_C(10000000000000000));
        number /= UINT64_C(10000000000000000);
        for (int i = 0; i < 4; i++, low /= 10000)
            groups[count++] = (uint16_t)(low % 10000);
    }
    for (uint64_t rest = (uint64_t)number; rest != 0; rest /= 10000)
        groups[count++] = (uint16_t)(rest % 10000);
    return count;
}

/* Groups of `magnitude`, the first of them filled up to the decimal point. */
static int split_narrow(u128 magnitude, int scale, uint16_t *groups)
{
    const int digits = scale % 4;   /* in the last group after the point */
    if (digits == 0)
        return split_whole(magnitude, groups);
    groups[0] = (uint16_t)((unsigned)(magnitude % powers[digits]) * powers[4 - digits]);
    return 1 + split_whole(magnitude / powers[digits], groups + 1);
}

static int split_wide(u256 magnitude, int scale, uint16_t *groups)
{
    int count = 0;
    if (scale % 4 != 0)
        groups[count++] = (uint16_t)(divide(&magnitude, powers[scale % 4]) * powers[4 - scale % 4]);
    while (magnitude.limbs[3] != 0 || magnitude.limbs[2] != 0)
        groups[count++] = (uint16_t)divide(&magnitude, 10000);
    return count + split_whole((u128)magnitude.limbs[1] << 64 | magnitude.limbs[0], groups + count);
}

static int write_numeric(const uint16_t *groups, int count, bool is_negative, int scale, uint8_t *out)
{
    int first = 0;
    while (count > 0 && groups[count - 1] == 0)
        count--;
    while (first < count && groups[first] == 0)
        first++;
    const int weight = count == 0 ? 0 : count - 1 - (scale + 3) / 4;
    wire_set16(out, (uint16_t)(count - first));
    wire_set16(out + 2, (uint16_t)weight);
    wire_set16(out + 4, is_negative ? SIGN_NEGATIVE : SIGN_POSITIVE);
    wire_set16(out + 6, (uint16_t)scale);
    uint8_t *p = out + 8;
    for (int i = count - 1; i >= first; i--, p += 2)
        wire_set16(p, groups[i]);
    return (int)(p - out);
}

int wire_encode_narrow(const void *slot, int scale, uint8_t *out)
{
    uint16_t groups[MAX_GROUPS];
    i128 value;
    memcpy(&value, slot, sizeof value);
    const int count = split_narrow(value < 0 ? -(u128)value : (u128)value, scale, groups);
    return write_numeric(groups, count, value < 0, scale, out);
}

int wire_encode_wide(const void *slot, int scale, uint8_t *out)
{
    uint16_t groups[MAX_GROUPS];
    u256 value;
    memcpy(&value, slot, sizeof value);
    swap_limbs(&value);
    const bool is_negative = value.limbs[3] >> 63;
    if (is_negative)
        negate(&value);
    return write_numeric(groups, split_wide(value, scale, groups), is_negative, scale, out);
}

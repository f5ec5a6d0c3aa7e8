/* numeric on the wire and decimal128.
 *
 * numeric_send writes int16 ndigits, int16 weight, uint16 sign, int16 dscale, then ndigits groups of four decimal
 * digits. The value is the sum of group[i] * 10000 ** (weight - i); dscale only says how many digits to show.
 */
#include "_wire.h"

enum { SIGN_POSITIVE = 0x0000, SIGN_NEGATIVE = 0x4000, SIGN_NAN = 0xC000, SIGN_PINF = 0xD000, SIGN_NINF = 0xF000 };

#define U128_MAX (~(u128)0)

u128 wire_power_of_ten(int exponent)
{
    static const uint64_t small[] = {
        UINT64_C(1), UINT64_C(10), UINT64_C(100), UINT64_C(1000), UINT64_C(10000), UINT64_C(100000), UINT64_C(1000000),
        UINT64_C(10000000), UINT64_C(100000000), UINT64_C(1000000000), UINT64_C(10000000000), UINT64_C(100000000000),
        UINT64_C(1000000000000), UINT64_C(10000000000000), UINT64_C(100000000000000), UINT64_C(1000000000000000),
        UINT64_C(10000000000000000), UINT64_C(100000000000000000), UINT64_C(1000000000000000000),
        UINT64_C(10000000000000000000),
    };
    return exponent < 20 ? small[exponent] : (u128)small[19] * small[exponent - 19];
}

static bool too_large(const WireDecimal *decimal, WireFault *fault)
{
    return wire_fault(fault, "numeric value does not fit decimal(%d, %d)", decimal->precision, decimal->scale);
}

/* Add one group to `sum`. `exponent` is the power of ten of the group's last digit, counted from the last digit that
 * the scale keeps: below zero, the group has digits beyond the scale, which must be zeros. */
static bool add_group(const WireDecimal *decimal, u128 *sum, unsigned group, int exponent, WireFault *fault)
{
    static const unsigned powers[] = {1, 10, 100, 1000, 10000};
    static const u128 most[] = {  /* the largest sum that may be multiplied by the power of the same index */
        U128_MAX - 9999, (U128_MAX - 9999) / 10, (U128_MAX - 9999) / 100, (U128_MAX - 9999) / 1000,
        (U128_MAX - 9999) / 10000,
    };
    const int beyond = exponent >= 0 ? 0 : exponent > -4 ? -exponent : 4;
    if (group > 9999)
        return wire_fault(fault, "numeric has the group %u; a group is at most 9999", group);
    if (group % powers[beyond] != 0)
        return wire_fault(fault, "numeric value has more than %d digits after the point", decimal->scale);
    if (*sum > most[4 - beyond])
        return too_large(decimal, fault);
    *sum = *sum * powers[4 - beyond] + group / powers[beyond];
    return true;
}

bool wire_decode_numeric(const WireDecimal *decimal, const uint8_t *p, int32_t size, i128 *value, bool *special,
                         WireFault *fault)
{
    if (size < 8)
        return wire_fault(fault, "numeric has %d bytes; at least 8 are needed", (int)size);
    const int groups = (int16_t)wire_get16(p), weight = (int16_t)wire_get16(p + 2), sign = wire_get16(p + 4);
    if (groups < 0 || size != 8 + 2 * groups)
        return wire_fault(fault, "numeric has %d bytes for %d groups of digits", (int)size, groups);
    *special = sign == SIGN_NAN || sign == SIGN_PINF || sign == SIGN_NINF;
    if (*special)
        return true;
    if (sign != SIGN_POSITIVE && sign != SIGN_NEGATIVE)
        return wire_fault(fault, "numeric has the unknown sign 0x%04x", (unsigned)sign);
    u128 sum = 0;
    int exponent = 4 * weight + decimal->scale;
    p += 8;
    for (int i = 0; i < groups; i++, exponent -= 4, p += 2)
        if (!add_group(decimal, &sum, wire_get16(p), exponent, fault))
            return false;
    exponent += 4;   /* of the last group */
    if (exponent > 0 && sum != 0) {
        if (exponent > 38 || sum > U128_MAX / wire_power_of_ten(exponent))
            return too_large(decimal, fault);
        sum *= wire_power_of_ten(exponent);
    }
    if (sum >= decimal->limit)
        return too_large(decimal, fault);
    *value = sign == SIGN_NEGATIVE ? -(i128)sum : (i128)sum;
    return true;
}

/* Groups of `magnitude` from the least to the most significant, the first of them aligned to the decimal point. */
static int split_groups(u128 magnitude, int scale, uint16_t *groups)
{
    const unsigned powers[] = {1, 10, 100, 1000};
    int count = 0;
    if (scale % 4 != 0) {
        const unsigned kept = powers[scale % 4];
        groups[count++] = (uint16_t)(unsigned)(magnitude % kept) * powers[4 - scale % 4];
        magnitude /= kept;
    }
    while (magnitude > UINT64_MAX) {   /* 128-bit division is slow: four groups at a time */
        uint64_t low = (uint64_t)(magnitude % UINT64_C(10000000000000000));
        magnitude /= UINT64_C(10000000000000000);
        for (int i = 0; i < 4; i++, low /= 10000)
            groups[count++] = (uint16_t)(low % 10000);
    }
    for (uint64_t rest = (uint64_t)magnitude; rest != 0; rest /= 10000)
        groups[count++] = (uint16_t)(rest % 10000);
    return count;
}

int wire_encode_numeric(i128 value, int scale, uint8_t *out)
{
    uint16_t groups[16];
    const u128 magnitude = value < 0 ? -(u128)value : (u128)value;
    int count = split_groups(magnitude, scale, groups), first = 0;
    while (count > 0 && groups[count - 1] == 0)
        count--;
    while (first < count && groups[first] == 0)
        first++;
    const int weight = count == 0 ? 0 : count - 1 - (scale + 3) / 4;
    wire_set16(out, (uint16_t)(count - first));
    wire_set16(out + 2, (uint16_t)weight);
    wire_set16(out + 4, value < 0 ? SIGN_NEGATIVE : SIGN_POSITIVE);
    wire_set16(out + 6, (uint16_t)scale);
    uint8_t *p = out + 8;
    for (int i = count - 1; i >= first; i--, p += 2)
        wire_set16(p, groups[i]);
    return (int)(p - out);
}

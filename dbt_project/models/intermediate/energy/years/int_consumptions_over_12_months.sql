with consumptions as (

    select * from {{ ref('int_consumptions_with_emissions') }}

),

months as (

    select * from {{ ref('int_consumptions_judged') }}

),

numbered as (

    select
        months.building_id,
        months.energy,
        months.month_date,
        extract(year from months.month_date) * 12
        + extract(month from months.month_date) as month_number,
        case
            when months.month_refusal_reason is null
                then consumptions.consumption_kwh_pci
        end as complete_kwh
    from months
    inner join consumptions
        on
            months.building_id = consumptions.building_id
            and months.energy = consumptions.energy
            and months.month_date = consumptions.month_date

)

select
    -- keys
    numbered.building_id,
    numbered.energy,
    numbered.month_date,

    -- measures
    -- Twelve rows are twelve months when none lacks between them.
    case
        when
            count(numbered.complete_kwh) over twelve = 12
            and numbered.month_number - min(numbered.month_number) over twelve = 11
            then round(sum(numbered.complete_kwh) over twelve, 6)
    end as consumption_kwh_pci_12_months

from numbered
window
    twelve as (
        partition by numbered.building_id, numbered.energy
        order by numbered.month_date
        rows between 11 preceding and current row
    )
